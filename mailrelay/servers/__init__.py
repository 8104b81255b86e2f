"""Who calls us: policy, socketmap, LMTP, status."""
