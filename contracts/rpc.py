"""A thin JSON-RPC client for the paths that matter (https://ethereum.github.io/execution-apis)."""

import ipaddress
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

import httpx
import msgspec

from contracts.codec import revert_reason
from contracts.errors import CallReverted, ChainRefused
from contracts.values import Call
from market.errors import NeugridError, Unavailable, WrongChain
from market.units import Address

_OVERLOADED: Final = (-32603, -32005, -32016)
"""Internal error, limit exceeded, and what large endpoints answer when they are busy: trying again is right."""

Request = tuple[str, list[Any]]


class Rpc:
    """One endpoint. Everything that is not an answer raises Unavailable: unknown, never "no"."""

    def __init__(self, url: str, timeout: float = 15.0, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.url = url
        limits = httpx.Limits(max_connections=32, max_keepalive_connections=8)
        self._http = httpx.AsyncClient(
            timeout=timeout, limits=limits, trust_env=not _is_local(url), transport=transport
        )
        self._ids = count(1)

    async def close(self) -> None:
        await self._http.aclose()

    async def call(self, method: str, *params: Any) -> Any:
        """The result of one method; ChainRefused or CallReverted when the endpoint says no."""
        return _result(await self._post(self._request(method, list(params))))

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        """The results of many methods in one round trip, in order; the first refusal is raised."""
        if not requests:
            return []
        answers = await self._post([self._request(*request) for request in requests])
        if not isinstance(answers, list) or len(answers) != len(requests):
            raise self._unknown("the batch was answered in part")
        return [_result(answer) for answer in sorted(answers, key=lambda answer: int(answer["id"]))]

    async def read(self, to: Address, data: bytes, block: str = "latest") -> bytes:
        """`eth_call`: what a view answers."""
        return bytes.fromhex((await self.call("eth_call", {"to": to, "data": "0x" + data.hex()}, block))[2:])

    async def estimate(self, sender: Address, call: Call) -> int:
        """The gas that `call` needs; CallReverted when it would fail."""
        message = {"from": sender, "data": "0x" + call.data.hex(), "value": hex(call.value)}
        return int(await self.call("eth_estimateGas", message | ({"to": call.to} if call.to else {})), 16)

    async def identity(self) -> tuple[int, str]:
        """The chain id and the hash of the first block."""
        chain_id, genesis = await self.batch([("eth_chainId", []), ("eth_getBlockByNumber", ["0x0", False])])
        return int(chain_id, 16), genesis["hash"]

    async def require(self, chain_id: int, genesis: str) -> None:
        """WrongChain unless the endpoint serves exactly this chain."""
        found = await self.identity()
        if found != (chain_id, genesis):
            raise WrongChain(
                f"the endpoint serves chain {found[0]} ({found[1][:10]}), not {chain_id} ({genesis[:10]})",
                expected={"chain_id": chain_id, "genesis": genesis},
                got={"chain_id": found[0], "genesis": found[1]},
            )

    def _request(self, method: str, params: list[Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}

    async def _post(self, payload: Any) -> Any:
        body = msgspec.json.encode(payload)
        try:
            answer = await self._post_twice(body)
            return msgspec.json.decode(answer.content)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            raise self._unknown(str(error) or type(error).__name__) from error

    async def _post_twice(self, body: bytes) -> httpx.Response:
        headers = {"content-type": "application/json"}
        try:
            return (await self._http.post(self.url, content=body, headers=headers)).raise_for_status()
        except (httpx.RemoteProtocolError, httpx.ReadError):
            # A kept connection that the server closed meanwhile; every method used here may be repeated.
            return (await self._http.post(self.url, content=body, headers=headers)).raise_for_status()

    def _unknown(self, why: str) -> Unavailable:
        return Unavailable(f"the chain does not answer: {why}", url=self.url)


@contextmanager
def unknown_if_refused() -> Iterator[None]:
    """Around pure reads: an endpoint that refuses to tell (a lagging one, say) leaves us knowing nothing."""
    try:
        yield
    except CallReverted:
        raise
    except ChainRefused as refused:
        raise Unavailable(f"the chain does not answer: {refused.message}", **refused.details) from refused


def _result(answer: Any) -> Any:
    if isinstance(answer, dict) and "error" not in answer:
        return answer.get("result")
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        raise Unavailable("the chain's answer is no JSON-RPC")
    raise _refusal(int(error.get("code", 0)), str(error.get("message", "")), error.get("data"))


def _refusal(code: int, message: str, data: Any) -> NeugridError:
    if code in _OVERLOADED:
        return Unavailable(f"the chain does not answer: {message}", rpc_code=code)
    if code == 3 or "revert" in message:
        raw = bytes.fromhex(data[2:]) if isinstance(data, str) and data.startswith("0x") else b""
        return CallReverted(revert_reason(raw) or message, rpc_code=code, data=data)
    return ChainRefused(message, rpc_code=code, data=data)


def _is_local(url: str) -> bool:
    host = httpx.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
