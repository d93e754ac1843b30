"""The sabotages of what is told to others: webhooks out, alerts, metrics and totals."""

from __future__ import annotations

from sabotage.change import Sabotage

TOLD = "migrations/0008_webhooks_and_alerts.sql"
OUTBOX = "tests/models/test_webhook_outbox.py"
ROLLUPS = "tests/models/test_rollups.py"
NOTIFIER = "tests/services/test_notifier.py"

TOLD_TO_OTHERS = (
    Sabotage(
        "untold-end",
        "what is told of an execution's end is written with it, whatever ends it",
        "G10",
        TOLD,
        "    WHEN (OLD.end_time IS NULL AND NEW.end_time IS NOT NULL)\n",
        "    WHEN (false)\n",
        (OUTBOX,),
    ),
    Sabotage(
        "told-to-anybody",
        "a webhook is told of nothing that its user may not see",
        "G14",
        TOLD,
        "           AND (w.sees_all OR w.seen_by = NEW.user_id\n"
        "                OR may_view_workflow(w.seen_by, NEW.community_id, NEW.workflow_id));",
        ";",
        (OUTBOX, "-k", "would_show"),
    ),
    Sabotage(
        "another-id-for-every-try",
        "every try of a delivery has the same webhook-id",
        "G10",
        "services/notifier.py",
        "signed_headers(one.secrets, one.delivery_id, ",
        'signed_headers(one.secrets, f"{one.delivery_id}-{one.attempt}", ',
        (NOTIFIER,),
    ),
    Sabotage(
        "signatures-of-nothing",
        "what is posted is signed, every byte of it",
        "G10",
        "services/webhook_secrets.py",
        ".sign(delivery_id, moment, payload)",
        '.sign(delivery_id, moment, "")',
        (NOTIFIER, "-k", "signed"),
    ),
    Sabotage(
        "signatures-of-one-secret",
        "both secrets of a webhook sign while they overlap",
        "G10",
        "services/webhook_secrets.py",
        "for each in secrets]\n",
        "for each in secrets[:1]]\n",
        (NOTIFIER, "-k", "both_secrets"),
    ),
    Sabotage(
        "redirect-is-success",
        "a redirect is a failure",
        "G10",
        "services/delivery_policy.py",
        "_SUCCESS = range(200, 300)",
        "_SUCCESS = range(200, 400)",
        ("tests/services/test_delivery_policy.py",),
    ),
    Sabotage(
        "no-lease-for-a-try",
        "no two processes send the same try",
        "G10",
        "models/outbox.py",
        "due_at = coalesce($1, now()) + make_interval(secs => $8),\n           last",
        "due_at = coalesce($1, now()) + make_interval(secs => $8 * 0),\n           last",
        (OUTBOX, "-k", "lease"),
    ),
    Sabotage(
        "late-try-records",
        "a try whose lease has ended records nothing",
        "G10",
        "models/outbox.py",
        " AND claims = $3 AND status = 'pending'\n    RETURNING webhook_id\n",
        " AND $3 > 0 AND status = 'pending'\n    RETURNING webhook_id\n",
        (OUTBOX,),
    ),
    Sabotage(
        "alert-on-every-look",
        "an alert fires once",
        "G10",
        "services/alert_evaluator.py",
        'if firing == (alert.state == "firing"):',
        'if not firing and alert.state == "ok":',
        ("tests/services/test_alert_evaluator.py",),
    ),
    Sabotage(
        "late-ends-overwrite",
        "what ends late is added to what is gathered of its hour",
        "G3",
        "models/rollup_upkeep_sql.py",
        "            SELECT {_ROW}, bin, count\n"
        "              FROM known CROSS JOIN LATERAL counts_by_bin(lowest_bin, counts)) each\n",
        "            SELECT {_ROW}, bin, 0 FROM placed) each\n",
        (ROLLUPS, "-k", "gathering"),
    ),
    Sabotage(
        "gathered-unseen",
        "metrics count what is gathered",
        "G3",
        "models/rollup_sql.py",
        "f\"${first}::interval >= interval '1 day'\"\n",
        'f"${first}::interval IS NULL"\n',
        (ROLLUPS, "-k", "gathering"),
    ),
    Sabotage(
        "gathered-stale",
        "what is gathered is read again once it has changed",
        "G3",
        "models/tallies.py",
        "if known is None or known[0] != state:",
        "if known is None:",
        (ROLLUPS, "-k", "gathered"),
    ),
    Sabotage(
        "gathered-for-all",
        "what is remembered of metrics is of the workflows that their reader may see",
        "G14",
        "models/rollups.py",
        '(known["workflows"], span.width, span.start, span.end)',
        "(span.width, span.start, span.end)",
        (ROLLUPS, "-k", "gathered"),
    ),
    Sabotage(
        "first-of-many",
        "what a list's statement depends on is in its shape",
        "G14",
        "models/execution_shapes.py",
        "walks=tuple((walk.column, len(walk.values) == 1) for walk in asked.walks),",
        "walks=tuple((walk.column, len(walk.values) >= 1) for walk in asked.walks),",
        ("tests/models/test_execution_shapes.py",),
    ),
    Sabotage(
        "estimates-for-all",
        "a total that is remembered is of what its reader may see",
        "G14",
        "services/estimates.py",
        "repr(replace(listing, order=Order()))",
        "repr(listing.narrow)",
        ("tests/services/test_estimates.py",),
    ),
    Sabotage(
        "born-elsewhere",
        "what another process runs before we know of our own commit is told from its first number",
        "G7",
        "services/live_hub.py",
        "            first = 1 if execution_id in self._unborn else first\n",
        "",
        ("tests/services/test_live_hub.py",),
    ),
)
