"""Templates: defaults for a create call, found by a hash of their content."""

import hashlib
import json
from typing import Any

from remote_gpu_trainer.emulator.filters import BadQuery, as_filters, matches
from remote_gpu_trainer.emulator.http.calls import Answer, Call, Endpoint, Json, refusal, text_in

FIELDS: Json = {
    "name": None,
    "image": None,
    "tag": None,
    "env": "",
    "onstart": "",
    "runtype": "args",
    "ssh_direct": False,
    "jup_direct": False,
    "jupyter_dir": None,
    "use_jupyter_lab": False,
    "use_ssh": False,
    "docker_login_repo": None,
    "extra_filters": {},
    "recommended_disk_space": None,
    "desc": None,
    "readme": None,
    "readme_visible": True,
    "args_str": "",
    "href": None,
    "repo": None,
    "private": True,
    "volume_info": None,
}
"""What a template holds, with its defaults."""
_OWN = (
    "id",
    "hash_id",
    "creator_id",
    "created_at",
    "recent_create_date",
    "count_created",
    "recommended",
    "default_tag",
)


def _hashed(template: Json) -> str:
    content = json.dumps({name: template.get(name) for name in FIELDS}, sort_keys=True, default=str)
    return hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()


def create(call: Call) -> Answer:
    """``POST /api/v0/template/``: the same content gives the existing template."""
    if not text_in(call.body, "name", 256):
        raise refusal(400, "invalid_args", "Template name is required")
    if not text_in(call.body, "image", 1024):
        raise refusal(400, "invalid_args", "Template image is required")
    world = call.world
    template = FIELDS | {name: value for name, value in call.body.items() if name in FIELDS and value is not None}
    found = next((t for t in world.templates.values() if t["hash_id"] == _hashed(template)), None)
    if found is None:
        number = 300_000 + world.account.fresh_id()
        found = template | {
            "id": number,
            "hash_id": _hashed(template),
            "creator_id": world.account.id,
            "created_at": world.now,
            "recent_create_date": None,
            "count_created": 0,
            "recommended": False,
        }
        world.templates[number] = found
    return Answer(
        {"success": True, "msg": f"Template Created Successfully! New Template ID: {found['id']}", "template": found}
    )


def update(call: Call) -> Answer:
    """``PUT /api/v0/template/`` by ``hash_id``, and ``PUT /api/v1/template/`` by both ids: a new hash, the same id."""
    found = _find(call, call.body.get("hash_id"), call.body.get("id"))
    found |= {name: value for name, value in call.body.items() if name in FIELDS and value is not None}
    found["hash_id"] = _hashed(found)
    return Answer({"success": True, "template": found})


def delete(call: Call) -> Answer:
    """``DELETE /api/v0/template/`` by ``template_id`` or ``hash_id``."""
    found = _find(call, call.body.get("hash_id"), call.body.get("template_id"))
    del call.world.templates[found["id"]]
    call.world.forget("template", str(found["id"]))
    return Answer({"success": True, "msg": "Template deleted successfully"})


def _find(call: Call, hash_id: Any, number: Any) -> Json:
    for template in call.world.templates.values():
        if (hash_id is not None and template["hash_id"] == hash_id) or (
            number is not None and template["id"] == number
        ):
            return template
    raise refusal(404, "not_found", "Template not found")


def search(call: Call) -> Answer:
    """``GET /api/v0/template/``."""
    try:
        filters = as_filters(call.json_query("select_filters", {}))
        known = frozenset({*FIELDS, *_OWN})
        rows = [row for row in call.world.templates.values() if matches(row, filters, known)]
    except BadQuery as bad:
        raise refusal(400, "invalid_request", str(bad)) from None
    return Answer({"success": True, "templates_found": len(rows), "templates": rows})


ROUTES = [
    Endpoint("GET", "/api/v0/template", search, 3.0, "misc", "api.template.search"),
    Endpoint("POST", "/api/v0/template", create, 0.0, "user_write", "api.template.create"),
    Endpoint("PUT", "/api/v0/template", update, 0.0, "user_write", "api.template.update"),
    Endpoint("PUT", "/api/v1/template", update, 0.0, "user_write", "api.template.update"),
    Endpoint("DELETE", "/api/v0/template", delete, 0.0, "user_write", "api.template.delete"),
]
