"""What an account keeps secret: environment variables and API keys."""

import re
from typing import Any

from remote_gpu_trainer.emulator.http.calls import Answer, Call, Endpoint, Refusal, as_object, refusal, text_in

VARIABLES_MOST = 100
NO_TEAM = 0
_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")


def _variable(call: Call) -> tuple[str, str]:
    key, value = text_in(call.body, "key", 128), text_in(call.body, "value", 4096)
    if not key or value is None:
        raise refusal(400, "missing_input", "Both 'key' and 'value' are required.")
    if not _NAME.fullmatch(key.upper()):
        raise refusal(400, "missing_input", "Key may hold letters, digits and underscores only.")
    return key.upper(), value


def show_variables(call: Call) -> Answer:
    """``GET /api/v0/secrets/``."""
    return Answer({"success": True, "secrets": call.world.account.secrets})


def create_variable(call: Call) -> Answer:
    """``POST /api/v0/secrets/``: names are upper-cased."""
    key, value = _variable(call)
    if key in call.world.account.secrets:
        raise refusal(400, "existing_key", f"Environment variable {key} already exists.")
    if len(call.world.account.secrets) >= VARIABLES_MOST:
        raise refusal(400, "max_secrets", f"At most {VARIABLES_MOST} environment variables are allowed.")
    call.world.account.secrets[key] = value
    return Answer({"success": True, "msg": "Environment variable added successfully"})


def update_variable(call: Call) -> Answer:
    """``PUT /api/v0/secrets/``."""
    key, value = _variable(call)
    if key not in call.world.account.secrets:
        raise refusal(400, "nonexistent_key", f"Environment variable {key} does not exist.")
    call.world.account.secrets[key] = value
    return Answer({"success": True, "msg": "Environment variable updated successfully"})


def delete_variable(call: Call) -> Answer:
    """``DELETE /api/v0/secrets/``."""
    key = (text_in(call.body, "key", 128) or "").upper()
    if not key:
        raise refusal(400, "missing_input", "'key' is required.")
    if call.world.account.secrets.pop(key, None) is None:
        raise refusal(400, "nonexistent_key", f"Environment variable {key} does not exist.")
    return Answer({"success": True, "msg": "Operation completed successfully"})


def create_key(call: Call) -> Answer:
    """``POST /api/v0/auth/apikeys/``: the one time its text is shown."""
    permissions: Any = call.body.get("permissions")
    if permissions is None:
        raise refusal(400, "missing_permissions", "Permissions are required")
    if as_object(permissions) is None or not isinstance(call.body.get("name", ""), str):
        raise refusal(400, "invalid_permissions", "Invalid permission format")
    key = call.world.account.add_key(str(call.body.get("name", "")), permissions)
    return Answer({"id": key.id, "key": key.key, "permissions": permissions})


def show_keys(call: Call) -> Answer:
    """``GET /api/v0/auth/apikeys/``: without their texts."""
    account = call.world.account
    rows = [
        {
            "id": key.id,
            "user_id": account.id,
            "name": key.name,
            "rights": "all" if key.permissions is None else "limited",
            "permissions": key.permissions,
            "team_id": NO_TEAM,
            "team_name": "",
        }
        for key in account.keys
        if not key.deleted
    ]
    return Answer({"apikeys": rows})


def delete_key(call: Call) -> Answer:
    """``DELETE /api/v0/auth/apikeys/{id}/``."""
    for key in call.world.account.keys:
        if key.id == call.number("id") and not key.deleted:
            key.deleted = True
            return Answer("Successfully Deleted API Key")
    raise Refusal(Answer({"msg": "API Key not found."}, 404))


ROUTES = [
    Endpoint("GET", "/api/v0/secrets", show_variables, 5.0, "user_read", "api.secrets.show"),
    Endpoint("POST", "/api/v0/secrets", create_variable, 3.0, "user_write", "api.secrets.create"),
    Endpoint("PUT", "/api/v0/secrets", update_variable, 3.0, "user_write", "api.secrets.update"),
    Endpoint("DELETE", "/api/v0/secrets", delete_variable, 3.0, "user_write", "api.secrets.delete"),
    Endpoint("GET", "/api/v0/auth/apikeys", show_keys, 1.0, "user_read", "api.apikeys.show"),
    Endpoint("POST", "/api/v0/auth/apikeys", create_key, 2.0, "user_write", "api.apikeys.create"),
    Endpoint("DELETE", "/api/v0/auth/apikeys/{id}", delete_key, 2.0, "user_write", "api.apikeys.delete"),
]
