"""Users, and who one is."""

from datetime import datetime

from neugrid_sdk.views.view import SnakeView


class User(SnakeView, frozen=True, kw_only=True):
    """A user: `role` is developer or admin, `status` active or blocked, `wallet` where he is paid out to."""

    id: str
    email: str | None
    name: str
    role: str
    tier: str
    wallet: str | None
    status: str
    has_single_key: bool
    created_at: datetime
    updated_at: datetime


class Me(SnakeView, frozen=True, kw_only=True):
    """Who asks, and what the token may; `credential` is the id of the key or the session."""

    user: User
    scopes: tuple[str, ...]
    credential: str


class Credits(SnakeView, frozen=True, kw_only=True):
    """The credits that a user has now."""

    user_id: str
    credits: int
