"""What resources are made of: methods that are written once, as programs, and called on both kinds of clients.

    class Users(Resource[D]):
        @operation
        def get(self, id: str) -> Program[User]:
            return self._ask(get(f"/v1/users/{quoted(id)}"), User)

        @listing
        def list(self, *, limit: int = 100) -> Listing[User]:
            return Listing(request=get("/v1/users", limit=limit), plural="users", shape=User)

On a blocking client `users.get(id)` is a User; on an asynchronous one it is awaited.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import msgspec

from neugrid_sdk.drivers import AsyncDriver, SyncDriver
from neugrid_sdk.effects import Program, Request, Stream
from neugrid_sdk.errors import BadAnswer
from neugrid_sdk.paging import AsyncPages, Listing, Pages
from neugrid_sdk.retries import Retries, sent

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D", bound=SyncDriver | AsyncDriver)


class Resource(Generic[D]):
    """A part of the API, over a driver."""

    def __init__(self, driver: D, retries: Retries) -> None:
        self._driver = driver
        self._retries = retries

    def _ask(self, request: Request, shape: type[T]) -> Program[T]:
        """The answer as a `shape`."""
        answer = yield from sent(request, self._retries)
        try:
            return msgspec.json.decode(answer.content, type=shape)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise BadAnswer(f"the answer of {request.path} is not as expected: {error}") from error


class operation(Generic[P, T]):  # noqa: N801  (a decorator)
    """A method whose program has one result."""

    def __init__(self, program: Callable[Concatenate[Any, P], Program[T]]) -> None:
        self._program = program
        self.__doc__ = program.__doc__

    @overload
    def __get__(self, resource: Resource[SyncDriver], owner: Any = None) -> Callable[P, T]: ...
    @overload
    def __get__(self, resource: Resource[AsyncDriver], owner: Any = None) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, resource: None, owner: Any = None) -> "operation[P, T]": ...
    def __get__(self, resource: Any, owner: Any = None) -> Any:
        """The method of this client."""
        return self if resource is None else _bound(self._program, resource, resource._driver.result)


class streaming(Generic[P, T]):  # noqa: N801  (a decorator)
    """A method whose stream is iterated over."""

    def __init__(self, stream: Callable[Concatenate[Any, P], Stream[T]]) -> None:
        self._stream = stream
        self.__doc__ = stream.__doc__

    @overload
    def __get__(self, resource: Resource[SyncDriver], owner: Any = None) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, resource: Resource[AsyncDriver], owner: Any = None) -> Callable[P, AsyncIterator[T]]: ...
    @overload
    def __get__(self, resource: None, owner: Any = None) -> "streaming[P, T]": ...
    def __get__(self, resource: Any, owner: Any = None) -> Any:
        """The method of this client."""
        return self if resource is None else _bound(self._stream, resource, resource._driver.items)


class listing(Generic[P, T]):  # noqa: N801  (a decorator)
    """A method that answers a list, which is iterated over or read page by page."""

    def __init__(self, listed: Callable[Concatenate[Any, P], Listing[T]]) -> None:
        self._listed = listed
        self.__doc__ = listed.__doc__

    @overload
    def __get__(self, resource: Resource[SyncDriver], owner: Any = None) -> Callable[P, Pages[T]]: ...
    @overload
    def __get__(self, resource: Resource[AsyncDriver], owner: Any = None) -> Callable[P, AsyncPages[T]]: ...
    @overload
    def __get__(self, resource: None, owner: Any = None) -> "listing[P, T]": ...
    def __get__(self, resource: Any, owner: Any = None) -> Any:
        """The method of this client."""
        if resource is None:
            return self
        pages = Pages if isinstance(resource._driver, SyncDriver) else AsyncPages
        return _bound(self._listed, resource, lambda found: pages(found, resource._driver, resource._retries))


def _bound(method: Callable[..., T], resource: Any, carry_out: Callable[[T], Any]) -> Callable[..., Any]:
    bound = method.__get__(resource)

    @wraps(bound)
    def call(*args: Any, **kwargs: Any) -> Any:
        return carry_out(bound(*args, **kwargs))

    return call
