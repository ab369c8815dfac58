"""Tells users that little is left to spend, in the transaction after which it is so."""

from market.happenings import low_balance_of
from market.ledger import MONEY, user_account
from node.actions.access import is_admin
from node.actions.following import Folds
from node.actions.happenings import Happenings
from node.actions.ledger import balance
from node.ports import Tx
from node.records import Account, Balance


class Alarm:
    """`threshold` holds for users who set none themselves; administrators have no balance."""

    def __init__(self, threshold: int, happenings: Happenings) -> None:
        self._threshold = threshold
        self._happenings = happenings

    def folds(self) -> Folds:
        """What it looks at."""
        return {Balance: (self.of_balance,), Account: (self.of_account,)}

    def of_balance(self, tx: Tx, before: Balance | None, after: Balance | None, now: int) -> None:
        """What a move of the ledger means."""
        moved = before if after is None else after
        had, has = before.amount if before else 0, after.amount if after else 0
        kind, _, id = moved.account.partition(":") if moved else ("", "", "")
        if moved is None or (kind, moved.currency) != ("user", MONEY) or has >= had:
            return
        account = tx.get(Account, id)
        if account is not None:
            least = self._least(account)
            self._tell(tx, id, (had, has), (least, least), now)

    def of_account(self, tx: Tx, before: Account | None, after: Account | None, now: int) -> None:
        """What a change of the user's setting, or of his role, means."""
        if before is not None and after is not None and self._least(before) != self._least(after):
            has = balance(tx, user_account(after.id))
            self._tell(tx, after.id, (has, has), (self._least(before), self._least(after)), now)

    def _least(self, account: Account) -> int:
        if is_admin(account) or account.is_deleted:
            return 0
        return self._threshold if account.low_balance is None else account.low_balance

    def _tell(self, tx: Tx, account: str, available: tuple[int, int], threshold: tuple[int, int], now: int) -> None:
        happening = low_balance_of(account, available, threshold)
        if happening is not None:
            self._happenings.record(tx, happening, now)
