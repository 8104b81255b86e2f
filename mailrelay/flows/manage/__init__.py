"""What operators and owners change: each flow checks, then has one store carry it out."""
