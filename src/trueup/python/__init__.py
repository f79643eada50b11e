"""What Python sides and handlers are written with. Your functions get these values, and return or yield plain ones.

A side is a function that is handed a part and yields rows, then proves that there are no more:

    from trueup.python import End, Part, side

    @side(key="id", columns={"id": "integer", "name": "text"})
    def customers(part: Part):
        for page in crm.pages():
            yield page.rows
        yield End(rows=crm.total)

A handler is a function that is handed a decision, and does what has to be done about it:

    from trueup.python import Call

    def create_invoice(call: Call) -> str:
        return billing.create(order=call.key["order_id"], idempotency_key=call.idempotency_key)

Both are named in the configuration as `module:name`, seen from the folder of the configuration file.
"""

from trueup.errors import DataProblem, DesignProblem, Transient
from trueup.python.handlers import Call
from trueup.python.sides import Change, End, Part, side

__all__ = ["Call", "Change", "DataProblem", "DesignProblem", "End", "Part", "Transient", "side"]
