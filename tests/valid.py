"""Holds lines of JSON against a JSON Schema with a validator that is not ours, and copies of them with one fault each, which must fail.

valid.py SCHEMA LINES: prints what is wrong, and exits with 1 if anything is.
"""

import copy
import json
import sys

import jsonschema

# Facts that are left out where there is nothing to say.
LEFT_OUT = {"flaky", "delays", "error_kind"}


def objects(value, path=()):
    """The objects in a value, each with the keys and numbers that lead there."""
    if isinstance(value, dict):
        yield path
        for key, inner in value.items():
            yield from objects(inner, path + (key,))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from objects(inner, path + (index,))


def at(value, path):
    for step in path:
        value = value[step]
    return value


def faults(document):
    """Copies with a fact left out, and with one that is of no type that any fact has; each with what was done."""
    for path in objects(document):
        for key in at(document, path):
            wrong = copy.deepcopy(document)
            at(wrong, path)[key] = {"of": "no type"}
            yield f"{path + (key,)} of a wrong type", wrong
            if key not in LEFT_OUT:
                wrong = copy.deepcopy(document)
                del at(wrong, path)[key]
                yield f"without {path + (key,)}", wrong


def short(document):
    """The same with the ends of its lists only: they are all alike, and each fault costs a validation."""
    if isinstance(document, dict):
        return {key: short(value) for key, value in document.items()}
    if isinstance(document, list):
        return [short(value) for value in (document if len(document) < 3 else document[:1] + document[-1:])]
    return document


def problems(validator, document):
    errors = [f"{list(error.absolute_path)}: {error.message}" for error in validator.iter_errors(document)]
    if errors:
        yield from errors
        return
    shortened = short(document)
    for fault, wrong in faults(shortened):
        if validator.is_valid(wrong):
            yield f"still valid {fault}"
    # Later versions add facts, and readers are to live with them.
    for path in objects(shortened):
        later = copy.deepcopy(shortened)
        at(later, path)["a_fact_of_later_versions"] = 1
        if not validator.is_valid(later):
            yield f"not valid with another fact in {path}"


def main(schema_file, lines_file):
    with open(schema_file, encoding="utf-8") as file:
        schema = json.load(file)
    kind = jsonschema.validators.validator_for(schema, default=None)
    kind.check_schema(schema)
    with open(lines_file, encoding="utf-8") as file:
        documents = [json.loads(line) for line in file]
    found = [
        f"line {number}: {problem}"
        for number, document in enumerate(documents, 1)
        for problem in problems(kind(schema), document)
    ]
    print(f"{len(documents)} valid" if not found else "\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
