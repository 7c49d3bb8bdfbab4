"""Errors sent between services as `application/problem+json` (RFC 9457)."""

from typing import Any

from midstream.errors import MidstreamError

PROBLEM_TYPE = "application/problem+json"


class Problem(MidstreamError):
    """An error response, with a sentence that says what to do.

    Args:
        status: the HTTP status code.
        title: what is wrong, in a few words.
        detail: what exactly is wrong, with the value, and what to do.
        retry_after: seconds after which the same request may succeed.
        more: further members of the JSON object, such as `next_seq`.
    """

    def __init__(
        self, status: int, title: str, detail: str, *, retry_after: int | None = None, **more: Any
    ) -> None:
        super().__init__(f"{title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.retry_after = retry_after
        self.more = more

    def body(self) -> dict[str, object]:
        """Return the JSON object of the response body."""
        return {"title": self.title, "status": self.status, "detail": self.detail, **self.more}

    def headers(self) -> dict[str, str]:
        """Return the response headers that belong to the problem."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}

    @classmethod
    def from_body(cls, status: int, body: object) -> "Problem":
        """Return the problem in a response; the body may be any JSON value."""
        fields = dict(body) if isinstance(body, dict) else {}
        title = str(fields.pop("title", f"HTTP {status}"))
        detail = str(fields.pop("detail", "the response gives no detail"))
        fields.pop("status", None)
        problem = cls(status, title, detail)
        problem.more = fields
        return problem
