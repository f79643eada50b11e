"""What is declared about alerts: where they go, and what is worth one."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from trueup.core.declared import Declared, Duration, Share, as_list


class Rule(Declared):
    """What is worth an alert. Written as `false`, it is switched off."""

    on: bool = True
    #: It has to be so for this long, seconds.
    after: Duration = 0.0
    #: Told again while it lasts, seconds. Default: `alerts.repeat`.
    repeat: Duration | None = Field(default=None, ge=60)

    @model_validator(mode="before")
    @classmethod
    def _one_word(cls, given: Any) -> Any:
        return {"on": given} if isinstance(given, bool) else given


class DriftRule(Rule):
    """Rows that are known to be wrong, and stay so when the run has ended."""

    #: More than so many.
    rows: int = Field(default=100, ge=0)
    #: More than this share of the source's rows; looked at from ten wrong rows on.
    share: Share = 0.01


class FailingRule(Rule):
    """Runs in a row that could not repair what they found, or broke off with an error."""

    runs: int = Field(default=2, ge=1)


class StarvingRule(Rule):
    """A paced database grants no more than the minimum, or nothing."""

    after: Duration = 15 * 60.0


class UnsequencedRule(Rule):
    """Lines of the audit log wait for their number."""

    after: Duration = 30 * 60.0


class Rules(Declared):
    """All of them, by name."""

    drift: DriftRule = DriftRule()
    #: A kind of difference, a column or a cause that this projection has not shown before.
    new_drift: Rule = Rule()
    repair_failing: FailingRule = FailingRule()
    #: The source's answer was not believed.
    source_collapsed: Rule = Rule()
    #: `fresh` is missed.
    stale: Rule = Rule()
    #: There are more rows in quarantine than before.
    quarantine_grew: Rule = Rule()
    #: A plan waits for somebody's approval.
    plan_waits: Rule = Rule()
    #: Of databases, and of the audit log: declared in `[alerts.rules]` only.
    starving: StarvingRule = StarvingRule()
    unsequenced: UnsequencedRule = UnsequencedRule()

    def with_own(self, own: Rules) -> Rules:
        """These, and in place of some of them what a projection declares."""
        return self.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


class Alerts(Declared):
    """The `[alerts]` table."""

    #: Apprise URLs. They hold secrets, and are never shown.
    to: Annotated[tuple[SecretStr, ...], BeforeValidator(as_list)] = ()
    #: What lasts is told again after this long, seconds.
    repeat: Duration = Field(default=4 * 3600.0, ge=60)
    #: Messages may go to addresses that are not public: this machine, private networks.
    allow_private: bool = False
    rules: Rules = Rules()
