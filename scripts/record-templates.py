#!/usr/bin/env python3
"""Records what transformers makes of chat templates, for the tests to be held against.

    pip install transformers==5.23.0 jinja2==3.1.6     (no torch)
    scripts/record-templates.py features               testdata/templates/features.json: fills in what each template of
                                                       the file renders, or that it is an error
    scripts/record-templates.py published DIR          testdata/templates/published.json: hashes of what the templates
                                                       in DIR (scripts/fetch-templates) make of the conversations
    scripts/record-templates.py show TEMPLATE CASE     prints one such text
"""
import datetime
import hashlib
import importlib.metadata
import json
import pathlib
import sys

import transformers.utils.chat_template_utils as reference

DIRECTORY = pathlib.Path(__file__).resolve().parent.parent / "testdata" / "templates"
NOW = datetime.datetime(2026, 3, 5, 14, 7, 9)


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


reference.datetime = FixedClock
VERSIONS = {name: importlib.metadata.version(name) for name in ("transformers", "jinja2", "markupsafe")}


def render(source, **variables):
    """{"rendered":} or {"error":}, the kind and the start of the message."""
    try:
        return {"rendered": reference._compile_jinja_template(source).render(**variables)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:120]}


def render_chat(source, case):
    variables = {"bos_token": "<s>", "eos_token": "</s>", **case.get("extra", {})}
    try:
        texts, _ = reference.render_jinja_template(
            conversations=[case["messages"]], tools=case.get("tools"), documents=case.get("documents"),
            chat_template=source, add_generation_prompt=case.get("add_generation_prompt", False), **variables)
        return {"rendered": texts[0]}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:120]}


def conversations():
    """The cases: every conversation with each of its variants."""
    data = json.loads((DIRECTORY / "conversations.json").read_text())
    for conversation in data["conversations"]:
        for variant in conversation.get("variants", [{}]):
            case = {**conversation, **variant}
            if isinstance(case.get("tools"), str):
                case["tools"] = data["tools"][case["tools"]]
            label = ",".join(f"{key}={json.dumps(value) if key != 'tools' else value}" for key, value in variant.items())
            case["name"] = conversation["name"] + (f"[{label}]" if label else "")
            yield case


def record_features():
    path = DIRECTORY / "features.json"
    data = json.loads(path.read_text())
    data["about"] = "Templates and what they render; scripts/record-templates.py features fills in the results."
    data["reference"] = VERSIONS
    data["now"] = NOW.isoformat()
    for case in data["cases"]:
        for key in ("rendered", "error"):
            case.pop(key, None)
        case.update(render(case["template"], **data["variables"]))
    head = {key: value for key, value in data.items() if key != "cases"}
    head["cases"] = data["cases"]
    rows = ",\n".join(json.dumps(case, ensure_ascii=True) for case in head.pop("cases"))
    path.write_text(json.dumps(head, ensure_ascii=False, indent=1)[:-2] + ',\n "cases": [\n' + rows + "\n]}\n")


def record_published(directory):
    sources = sorted(pathlib.Path(directory).glob("*.jinja"))
    result = {
        "about": "sha256 of what published chat templates make of the cases of conversations.json, in their order; "
                 "null where they raise an error. scripts/fetch-templates brings the templates, "
                 "scripts/record-templates.py published records this.",
        "reference": VERSIONS, "now": NOW.isoformat(), "package": (pathlib.Path(directory) / "PACKAGE").read_text().strip(),
        "cases": [case["name"] for case in conversations()], "templates": {}}
    for source in sources:
        text = source.read_bytes()
        results = [render_chat(text.decode(), case).get("rendered") for case in conversations()]
        result["templates"][source.name] = {
            "sha256": hashlib.sha256(text).hexdigest(),
            "rendered": [r if r is None else hashlib.sha256(r.encode()).hexdigest()[:32] for r in results]}
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in result.pop("templates").items())
    head = json.dumps(result, ensure_ascii=False, indent=1)[:-2]
    (DIRECTORY / "published.json").write_text(head + ',\n "templates": {\n' + rows + "\n}}\n")


def show(template, name):
    for case in conversations():
        if case["name"] == name:
            print(json.dumps(render_chat(pathlib.Path(template).read_text(), case), ensure_ascii=False))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["features"]:
            record_features()
        case ["published", directory]:
            record_published(directory)
        case ["show", template, name]:
            show(template, name)
        case _:
            sys.exit(__doc__)
