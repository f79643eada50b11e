"""What makes a projection run besides its schedule: events, as they are declared.

An event says *that* something changed, and at best which key: never what it is now. So an event that comes twice, late
or in another order does no harm, and one that is lost costs no more than waiting for the schedule.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from trueup.core.declared import Declared, Duration

#: Shortest secret of a webhook, bytes.
SECRET_MIN = 24
#: Schemes of a broker's URL -> the kind of trigger that it is for.
BROKERS = {
    "redis": "redis_stream",
    "rediss": "redis_stream",
    "valkey": "redis_stream",
    "valkeys": "redis_stream",
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "nats": "nats",
    "tls": "nats",
}
#: Schemes of databases that an outbox can be in.
OUTBOXES = ("postgresql", "postgres", "mysql", "mariadb", "sqlite")


class Broker(Declared):
    """A message broker that events come from."""

    #: `redis://…`, `amqp://…`, `nats://…`. Never printed with its password.
    url: SecretStr

    @field_validator("url")
    @classmethod
    def _known(cls, url: SecretStr) -> SecretStr:
        scheme, found, _ = url.get_secret_value().partition("://")
        if not found or scheme not in BROKERS:
            raise ValueError(f"it begins with none of {', '.join(f'{name}://' for name in BROKERS)}")
        return url


class Event(Declared):
    """What all kinds of triggers share."""

    #: Where a key's columns are in an event: names of fields, `data.id` for one within another. Default: fields of
    #: their own names. `all`: an event is about all keys.
    keys: dict[str, str] | Literal["all"] | None = None
    #: How an event is written: JSON, an object or a list of them (or a bare value where the key is one column); or
    #: `text`, the value of the key itself.
    format: Literal["json", "text"] = "json"
    #: Events are gathered for this long before they become a request, and the next one waits as long, seconds.
    window: Duration = Field(default=0.5, ge=0, le=60)
    #: What an event whose keys cannot be found asks for: nothing (it is counted), or all keys.
    unreadable: Literal["skip", "all"] = "skip"

    def fields(self, key: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """Column of the key -> the way to it in an event."""
        given = self.keys if isinstance(self.keys, dict) else {}
        return {name: tuple(given.get(name, name).split(".")) for name in key}


class Listen(Event):
    """`NOTIFY` of PostgreSQL."""

    kind: Literal["listen"]
    database: str
    channel: str = Field(min_length=1, max_length=63)
    #: What covers the time in which nobody listened: a run over all keys whenever listening begins, or the schedule.
    gap: Literal["all", "schedule"] = "all"

    @property
    def place(self) -> str:
        return f"{self.database}: {self.channel}"


class Outbox(Event):
    """A table that rows are only added to, with a number that grows."""

    kind: Literal["outbox"]
    database: str
    table: str = Field(min_length=1)
    #: Its growing number: unique, an integer.
    id: str = "id"
    #: Column that holds an event in `format`. Default: the table's columns are its fields.
    column: str = ""
    #: How often it is looked at, seconds.
    poll: Duration = Field(default=1.0, ge=0.05, le=3600)
    #: A number that is passed over may still be committed for this long, seconds.
    late: Duration = Field(default=60.0, ge=0)

    @property
    def place(self) -> str:
        return f"{self.database}: {self.table}"


class RedisStream(Event):
    """A stream of Redis or Valkey, read by a consumer group."""

    kind: Literal["redis_stream"]
    broker: str
    stream: str = Field(min_length=1)
    #: Default: one for each projection.
    group: str = ""
    #: Field of an entry that holds an event in `format`. Default: the entry's fields are the event's.
    field: str = ""
    #: What another node took and did not acknowledge is taken over after this long, seconds.
    take_over: Duration = Field(default=60.0, gt=0)

    @property
    def place(self) -> str:
        return f"{self.broker}: {self.stream}"


class RabbitMQ(Event):
    """A queue of RabbitMQ, declared by whoever runs it."""

    kind: Literal["rabbitmq"]
    broker: str
    queue: str = Field(min_length=1)

    @property
    def place(self) -> str:
        return f"{self.broker}: {self.queue}"


class Nats(Event):
    """A stream of NATS JetStream, read by a durable consumer."""

    kind: Literal["nats"]
    broker: str
    stream: str = Field(min_length=1)
    #: Only these subjects of the stream. Default: all.
    subject: str = ""
    #: Name of the consumer. Default: one for each projection.
    durable: str = ""

    @property
    def place(self) -> str:
        return f"{self.broker}: {self.stream}"


class Webhook(Event):
    """Signed requests to the API, as the specification Standard Webhooks has them."""

    kind: Literal["webhook"]
    secret: SecretStr
    #: How old or how far ahead the moment in a request may be, seconds.
    tolerance: Duration = Field(default=300.0, gt=0, le=3600)

    #: Nothing has to be listened to: the API gets it.
    place: ClassVar[str] = "API"

    @model_validator(mode="after")
    def _long_enough(self) -> Webhook:
        try:
            length = len(self.secret_bytes)
        except binascii.Error:
            raise ValueError("`secret`: what follows whsec_ is not base64") from None
        if length < SECRET_MIN:
            raise ValueError(f"`secret` is shorter than {SECRET_MIN} bytes; `openssl rand -base64 32` makes one")
        return self

    @property
    def secret_bytes(self) -> bytes:
        """What is signed with: base64 after `whsec_`, else the text itself."""
        text = self.secret.get_secret_value()
        if not text.startswith("whsec_"):
            return text.encode()
        return base64.b64decode(text.removeprefix("whsec_"), validate=True)


Trigger = Listen | Outbox | RedisStream | RabbitMQ | Nats | Webhook
AnyTrigger = Annotated[Trigger, Field(discriminator="kind")]


def fits(trigger: Trigger, scheme: str) -> bool:
    """Is a database or a broker with such a URL one for this kind of trigger?"""
    if isinstance(trigger, Listen):
        return scheme.partition("+")[0] in ("postgresql", "postgres")
    if isinstance(trigger, Outbox):
        return scheme.partition("+")[0] in OUTBOXES
    return BROKERS.get(scheme) == trigger.kind


def consumer(projection: str) -> str:
    """Name of a projection's consumer group, in the letters that every broker takes."""
    plain = projection.replace(".", "_")
    told = "" if plain == projection else f"-{hashlib.sha256(projection.encode()).hexdigest()[:6]}"
    return f"trueup-{plain}{told}"


def shared(trigger: Trigger, projection: str) -> tuple[str, ...] | None:
    """What two triggers cannot both have, since each event is handed to one of them only; None: nothing."""
    if isinstance(trigger, RedisStream):
        return (trigger.broker, trigger.stream, trigger.group or consumer(projection))
    if isinstance(trigger, RabbitMQ):
        return (trigger.broker, trigger.queue)
    if isinstance(trigger, Nats):
        return (trigger.broker, trigger.stream, trigger.durable or consumer(projection))
    return None
