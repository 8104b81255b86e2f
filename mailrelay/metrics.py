"""Every metric, each with the question that it answers."""

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
_SLOW = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0)

# What does Postfix hear at RCPT, and why? verdict: accept, refuse, defer; reason: the ledger's list, none, database,
# failed (a bug).
POLICY_ANSWERS = Counter("mailrelay_policy_answers", "Policy answers by verdict.", ["verdict", "reason"])
# How long does Postfix wait for a policy answer?
POLICY_SECONDS = Histogram("mailrelay_policy_seconds", "Time to answer one policy request.", buckets=_FAST)
# How often is the database spared? result: hit, miss, stale (served while the database is away).
CACHE_LOOKUPS = Counter("mailrelay_cache_lookups", "Look-ups in the facts cache.", ["result"])
# Who asks what of the socketmap? map: domain, recipient, transport, sender_login, other; result: ok, notfound, temp,
# perm.
SOCKETMAP_ANSWERS = Counter("mailrelay_socketmap_answers", "Socketmap answers.", ["map", "result"])
# What does Postfix hear at the end of a message, and why? verdict: accept, refuse, defer; reason: that of the first
# recipient, none.
MILTER_MESSAGES = Counter(
    "mailrelay_milter_messages", "Messages to us at their end, by verdict.", ["verdict", "reason"]
)
# How much of the mail of this Postfix is none of ours, and was left alone?
MILTER_FOREIGN = Counter("mailrelay_milter_foreign", "Messages without a recipient of ours.")
# How long does the sender wait at the end of a message?
MILTER_SECONDS = Histogram("mailrelay_milter_seconds", "From the end of a message to our answer.", buckets=_SLOW)
# What did the authentication of authors find? result: as RFC 8601 has it.
DMARC_RESULTS = Counter("mailrelay_dmarc_results", "Messages to us by DMARC result.", ["result"])
# What became of the recipients that Postfix handed over? outcome: the ledger's, plus deferred.
RECIPIENTS = Counter("mailrelay_recipients", "Recipients by outcome.", ["outcome", "reason"])
# Whose rules do not do what they were made for? Counted each time they are loaded: a log line names each.
BROKEN_RULES = Counter("mailrelay_broken_rules", "Stored rules found not to be understood, wholly or in part.")
# How long do facts, decision and composition take, without the hand-over?
DECISION_SECONDS = Histogram("mailrelay_decision_seconds", "From DATA to the first hand-over.", buckets=_SLOW)
# How long does Postfix take to queue a copy?
SUBMIT_SECONDS = Histogram("mailrelay_submit_seconds", "Time to hand one copy to Postfix.", buckets=_SLOW)
# How many hand-overs are under way or waiting for a connection?
SUBMITTING = Gauge("mailrelay_submitting", "Copies being handed over or waiting for a connection.")
# What comes back, of which mail, and why? type: F, R, S, N; bounce: hard, soft, spam.
BOUNCES = Counter("mailrelay_bounces", "Failure reports about copies of ours.", ["type", "bounce"])
# Is the database in trouble?
DATABASE_ERRORS = Counter("mailrelay_database_errors", "Statements that failed because the database was away.")
# Is the LISTEN connection up, so that caches are current?
LISTENING = Gauge("mailrelay_listening", "1 while change notifications arrive.")
# Do we wait for DNS? result: hit, shared (somebody was asking already), miss, error (time-out or server failure).
DNS_LOOKUPS = Counter("mailrelay_dns_lookups", "DNS questions.", ["result"])
# How long does DNS take, where it has to be asked?
DNS_SECONDS = Histogram("mailrelay_dns_seconds", "Time for one DNS question, retries included.", buckets=_SLOW)
# Does the ledger add up? accepted - delivered - failed - discarded - held - queued; anything but 0 is a bug.
LEDGER_IMBALANCE = Gauge("mailrelay_ledger_imbalance", "Accepted recipients without exactly one outcome.")
# Where does the accepted mail stand?
LEDGER_ROWS = Gauge("mailrelay_ledger_rows", "Ledger rows of the last 24 hours by outcome.", ["outcome"])
# What did the worker clear away?
PURGED_ROWS = Counter("mailrelay_purged_rows", "Rows removed by retention.", ["table"])
PURGE_SECONDS = Histogram("mailrelay_purge_seconds", "Time of one retention run.", buckets=(0.01, 0.1, 1, 10, 60, 600))
# Does the work that is done later get done? outcome: done, retried, failed (given up).
JOBS = Counter("mailrelay_jobs", "Attempts at jobs by what came of them.", ["kind", "outcome"])
# How much of it waits, and for how long? waiting: also what is not due yet.
JOBS_WAITING = Gauge("mailrelay_jobs_waiting", "Jobs that have not ended.")
JOBS_DUE = Gauge("mailrelay_jobs_due", "Jobs that should be under way, or are.")
JOBS_OLDEST_SECONDS = Gauge("mailrelay_jobs_oldest_seconds", "How long the oldest of them has been due.")
# Whom do we tell, and of what are people spared? outcome: sent, failed, suppressed (too many), unwanted, undeliverable.
NOTICES = Counter("mailrelay_notices", "Notifications by what came of them.", ["code", "outcome"])
# What is done with signed links, and how many are refused? action: as in their path, none for others; status: of HTTP.
LINKS = Counter("mailrelay_links", "Requests to signed links.", ["action", "status"])
# Do webhooks get their events? event: of the list in core/webhooks.py; result: delivered, failed (it is tried again).
WEBHOOK_DELIVERIES = Counter("mailrelay_webhook_deliveries", "Attempts to deliver an event.", ["event", "result"])
# How late are they? scope: installation, account.
WEBHOOK_LAG_SECONDS = Gauge(
    "mailrelay_webhook_lag_seconds", "Age of the oldest event that a webhook waits for.", ["scope"]
)
# Which receivers were away for so long that nobody asks any more? A log line names each.
WEBHOOKS_GIVEN_UP = Counter("mailrelay_webhooks_given_up", "Webhooks switched off after a week of failures.")
# What does Postfix' log tell? event: rejection (for an owner to see), known (we had refused it ourselves), surplus (too
# many to write down), sent, deferred, bounced (copies of ours).
MAILLOG_EVENTS = Counter("mailrelay_maillog_events", "Events found in the mail log.", ["event"])
# Is the log read as fast as it is written? Of the last line that told something, when it was dealt with.
MAILLOG_BEHIND = Gauge("mailrelay_maillog_behind_seconds", "Age of what was last read in the mail log.")
# Can messages be kept until their copies have arrived? step: keep, take, drop, sweep.
SPOOL_TROUBLE = Counter("mailrelay_spool_trouble", "Failed steps with spooled messages.", ["step"])
# What is made of the ledger for owners to see? what: record (failed deliveries), notice.
CHRONICLE_TOLD = Counter("mailrelay_chronicle_told", "What the chronicle made of ledger entries.", ["what"])
# Do owners hear of their mail soon? 0 where it reads everything that is old enough.
CHRONICLE_BEHIND = Gauge("mailrelay_chronicle_behind_seconds", "Age of the ledger entry last read, if others wait.")
# Who calls our mail spam, and what follows? type: F, R, S, N, unknown (of no copy); effect: counted, repeated, blocked
# (a sender for an alias), suspended (replies and sends of an account), none.
COMPLAINTS = Counter("mailrelay_complaints", "Complaints about spam.", ["type", "effect"])
# Who uses the HTTP APIs for what, and what do they hear? path: as documented, none for others; status: of HTTP.
API_REQUESTS = Counter("mailrelay_api_requests", "Requests to the HTTP APIs.", ["api", "method", "path", "status"])
# Whom do bans keep from them? type: email, domain, ip, name. What bans do to mail shows among answers and recipients.
BAN_HITS = Counter("mailrelay_ban_hits", "Requests to the HTTP APIs that a ban refused.", ["type"])
# Are they quick?
API_SECONDS = Histogram("mailrelay_api_seconds", "Time for one request to an HTTP API.", ["api"], buckets=_FAST)
# What does DNS say of domains, ours and proposed ones? purpose: email, sending, ui; result: right, wrong, no_answer.
DOMAIN_CHECKS = Counter("mailrelay_domain_checks", "Checks of the DNS of domains.", ["purpose", "result"])
# Which domains come and go by it? change: granted, withdrawn (a notice tells the owner).
DOMAIN_APPROVALS = Counter("mailrelay_domain_approvals", "Changes of what domains may do.", ["purpose", "change"])
