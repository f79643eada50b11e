"""Signed requests, as the specification Standard Webhooks (version 1) has them: many services send them so.

    webhook-id: msg_2b…            which message it is
    webhook-timestamp: 1767225600  seconds since 1970
    webhook-signature: v1,<base64 of HMAC-SHA256(secret, id.timestamp.body)>, several with a space between them

A request that is sent again within the tolerance is merged with the first, as any two events are.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from trueup.core.events import EVENT_MAX, Gathered, UnreadableError, keys_in
from trueup.errors import Refused, UsageError

if TYPE_CHECKING:
    from trueup.core.projection import Projection
    from trueup.core.triggers import Webhook

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
#: Signatures of one request that are looked at: one for each secret while secrets change.
SIGNATURES_MAX = 8


def signed(secret: bytes, message: str, timestamp: str, body: bytes) -> str:
    """The signature of a request."""
    content = f"{message}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()


def received(projection: Projection, headers: Mapping[str, str], body: bytes, now: datetime) -> Gathered:
    """What a request asks for, for `Trueup.request(..., asked_by="webhook")`. Names of `headers` in lower case.

    Any of the projection's webhooks may have signed it. Raises Refused where none has, or the request is too old or
    from the future (and says no more than that: whoever asks is not known); UsageError where it is genuine and cannot
    be read.
    """
    trigger = next((hook for hook in projection.webhooks if _genuine(hook, headers, body, now)), None)
    if trigger is None:
        raise Refused(f"{projection.name}: the signature does not fit, or the request is not of this moment")
    gathered = Gathered()
    try:
        gathered.add(keys_in(body, trigger, projection.key))
    except UnreadableError as why:
        gathered.put_off(trigger, why)
        if not gathered.asks:
            raise UsageError(f"{projection.name}: the event cannot be read: {why}") from None
    return gathered


def _genuine(trigger: Webhook, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    message, timestamp = headers.get(ID, ""), headers.get(TIMESTAMP, "")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16) or len(body) > EVENT_MAX:
        return False
    right = signed(trigger.secret_bytes, message, timestamp, body).encode()
    given = headers.get(SIGNATURE, "").split()[:SIGNATURES_MAX]
    found = [hmac.compare_digest(right, each.encode()) for each in given]  # all of them, whichever fits
    return any(found) and abs(now.timestamp() - int(timestamp)) <= trigger.tolerance
