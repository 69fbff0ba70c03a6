"""The account: who am I, settings, and the lists around it."""

from remote_gpu_trainer.emulator.http.calls import Answer, Call, Endpoint, refusal
from remote_gpu_trainer.emulator.money import usd

SETTABLE = frozenset(
    (
        "normalized_email username fullname ssh_key billaddress_line1 billaddress_line2 billaddress_city "
        "billaddress_zip billaddress_country billaddress_taxinfo balance_threshold_enabled balance_threshold "
        "autobill_threshold phone_number"
    ).split()
)


def current(call: Call) -> Answer:
    """``GET /api/v0/users/current``: without the API key, as the file says, and all that the CLI shows of a user."""
    world, account = call.world, call.world.account
    balance = usd(world.balance())
    address = {name: account.settings.get(name) for name in sorted(SETTABLE) if name.startswith("billaddress_")}
    return Answer(
        address
        | {
            "id": account.id,
            "key_id": call.key.id,
            "email": account.email,
            "username": account.username,
            "fullname": str(account.settings.get("fullname", "Emulated Renter")),
            "balance": balance,
            "credit": balance,
            "balance_threshold": float(account.settings.get("balance_threshold", 0.0)),
            "balance_threshold_enabled": bool(account.settings.get("balance_threshold_enabled", False)),
            "has_billing": account.card,
            "can_pay": account.card,
            "tfa_enabled": account.tfa,
            "ssh_key": account.live_ssh_keys[-1]["public_key"] if account.live_ssh_keys else "",
            "sid": f"{account.id:x}",
            "user": None,
            "email_verified": True,
            "password_resettable": True,
            "got_signup_credit": 0.0,
            "billing_creditonly": 0,
            "billed_expected": usd(world.meter.total()),
            "billed_verified": usd(world.meter.total()),
            "paid_expected": usd(account.paid_in),
            "paid_verified": usd(account.paid_in),
            "has_payout": False,
            "last4": "4242" if account.card else None,
            "paypal_email": None,
        }
    )


def update(call: Call) -> Answer:
    """``PUT /api/v0/users/``."""
    unknown = sorted(set(call.body) - SETTABLE)
    if not call.body or unknown:
        raise refusal(
            400,
            "invalid_characters" if unknown else "missing_input",
            f"Unknown settings: {', '.join(unknown)}" if unknown else "No settings given",
        )
    call.world.account.settings |= call.body
    return Answer({"success": True, "msg": "Operation completed successfully"})


def ipaddrs(call: Call) -> Answer:
    """``GET /api/v0/users/{user_id}/ipaddrs``: by the file's names, and by those that the CLI reads."""
    return Answer(
        {
            "success": True,
            "results": [
                {
                    "id": 1,
                    "user_id": call.world.account.id,
                    "ip_address": "127.0.0.1",
                    "timestamp": "2026-08-01T00:00:00Z",
                    "ip": "127.0.0.1",
                    "first_seen": "2026-08-01T00:00:00Z",
                    "first_location": "loopback",
                }
            ],
        }
    )


ROUTES = [
    Endpoint("GET", "/api/v0/users/current", current, 0.0, "user_read", "api.user.show"),
    Endpoint("PUT", "/api/v0/users", update, 5.0, "user_write", "api.user.update"),
    Endpoint("GET", "/api/v0/users/{user_id}/ipaddrs", ipaddrs, 2.9, "user_read", "api.user.ipaddrs"),
]
