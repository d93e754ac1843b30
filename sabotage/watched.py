"""Sabotages of what only those may do who may, and of what is remembered of it (G14, G16)."""

from __future__ import annotations

from sabotage.change import Sabotage

CHAIN = "tests/models/test_audit_chain.py"
MATRIX = "tests/security/test_matrix.py"
MIGRATION = "migrations/0010_members_and_audit_chain.sql"

WATCHED = (
    Sabotage(
        "grants-that-give-more",
        "a grant gives exactly what it names",
        "G14",
        "services/permission_service.py",
        'return self.unlimited or bool(getattr(self.facts, f"can_{permission}"))',
        "return self.unlimited or self.facts.can_edit",
        (MATRIX, "-k", "each_kind and versions"),
    ),
    Sabotage(
        "unknown-webhooks-cost-less",
        "nothing tells another community's from what does not exist, not even the time it takes",
        "G14",
        "services/subscription_rights.py",
        "        reached = await self._permissions.reaches(caller, community)\n",
        "        reached = it is not None and await self._permissions.reaches(caller, community)\n",
        (MATRIX, "-k", "another_communitys and webhook"),
    ),
    Sabotage(
        "grants-that-count-later",
        "a grant counts at once in the process that was asked",
        "G14",
        "services/grants.py",
        "        self._permissions.forget(workflow_id)\n        return given\n",
        "        return given\n",
        ("tests/controllers/test_permissions.py",),
    ),
    Sabotage(
        "roles-that-count-later",
        "a role counts at once in the process that was asked",
        "G14",
        "services/permission_service.py",
        "        self._facts.drop_where(lambda key: key[1] == user_id)\n",
        "        assert user_id >= 0\n",
        ("tests/controllers/test_members.py",),
    ),
    Sabotage(
        "audit-of-everybody",
        "an admin of one community reads what concerned that one",
        "G14",
        "services/audit_reader.py",
        "    return replace(narrow, community_id=caller.community_id)\n",
        "    return narrow\n",
        ("tests/controllers/test_audit_api.py",),
    ),
    Sabotage(
        "audit-rows-deleted",
        "nobody can delete a row of the audit log",
        "G16",
        MIGRATION,
        "BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log FOR",
        "BEFORE UPDATE OR TRUNCATE ON audit_log FOR",
        (CHAIN,),
    ),
    Sabotage(
        "audit-rows-rewritten",
        "a row of the audit log that was changed is noticed",
        "G16",
        "models/audit_chain.py",
        '    if row["hash"] != row_hash(tip.hash, row):\n',
        '    if row["hash"] == tip.hash:\n',
        (CHAIN,),
    ),
    Sabotage(
        "audit-pruned-in-silence",
        "nothing goes from the audit log that it does not tell of",
        "G16",
        "models/audit_chain.py",
        "                if going:\n",
        "                if going is None:\n",
        (CHAIN, "-k", "does_not_tell"),
    ),
    Sabotage(
        "audit-without-its-end",
        "rows that are missing at the end of the audit log are noticed",
        "G16",
        "models/audit_chain.py",
        "if broken is None and end != tip and",
        "if broken is None and end.audit_id < tip.audit_id and",
        (CHAIN,),
    ),
    Sabotage(
        "audit-writers-at-once",
        "several writers make one chain",
        "G16",
        MIGRATION,
        "    SELECT * INTO head FROM audit_chain FOR UPDATE;\n    IF NOT",
        "    SELECT * INTO head FROM audit_chain;\n    IF NOT",
        (CHAIN,),
    ),
    Sabotage(
        "audit-batch-lost",
        "a row that cannot be stored takes no other with it",
        "G16",
        "services/audit.py",
        "            if len(batch) > 1:\n",
        "            if len(batch) > len(self._rows):\n",
        ("tests/services/test_audit.py",),
    ),
    Sabotage(
        "denials-without-a-community",
        "whoever reads a community's audit log finds what was denied on what is its own",
        "G16",
        "services/permission_service.py",
        "        self.judged(community_id=access.facts.community_id, workflow_id=workflow_id)\n",
        "",
        ("tests/controllers/test_audit_api.py", "-k", "concern"),
    ),
    Sabotage(
        "retries-that-tell",
        "who may edit a workflow but not view it reads no execution by retrying it",
        "G14",
        "services/execution_control.py",
        "        return owner, caller.user_id if sees else owner.user_id\n",
        "        return owner, caller.user_id if sees else caller.user_id\n",
        ("tests/controllers/test_who_may_rerun.py",),
    ),
)
