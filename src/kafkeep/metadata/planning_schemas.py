"""From the schemas of a point and what a registry holds to the steps that put them there: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.options import SCHEMAS, ApplyOptions
from kafkeep.metadata.plan import ADD, SET, Change, SchemaId
from kafkeep.metadata.planning_services import held_on_both
from kafkeep.metadata.steps_services import (
    KEEP,
    MAP,
    DeleteSchema,
    RegisterSchema,
    SetSubjectMode,
    SetSubjectRules,
)
from kafkeep.metadata.verdicts import Verdicts
from kafkeep.schemas import (
    Place,
    SchemaReference,
    Schemas,
    SchemaVersion,
    SubjectRules,
    in_order,
    same_schema,
)


def plan_schemas(source: ClusterImage, target: ClusterImage, options: ApplyOptions, verdicts: Verdicts) -> None:
    """Schemas after everything they refer to; compatibility when they are there, so that it does not stand in their way;
    then what is deleted, and modes last, because a mode may forbid all of it.
    """
    held = held_on_both(SCHEMAS, "the registry", (source, source.schemas), (target, target.schemas), verdicts)
    if held is None:
        return
    wanted, there = held
    ordered = [version for version in in_order(wanted.versions) if _whole(version, wanted, there, verdicts)]
    if options.schema_ids == MAP:
        _mapped(ordered, there, verdicts)
    else:
        _kept(ordered, there, verdicts)
    for rules in wanted.rules:
        _rules(rules, there.rules_of(rules.subject), verdicts)
    if options.schema_ids == KEEP:
        _deleted(ordered, there, verdicts)
    for rules in wanted.rules:
        _mode(rules, there.rules_of(rules.subject), verdicts)


def _whole(version: SchemaVersion, wanted: Schemas, there: Schemas, verdicts: Verdicts) -> bool:
    """False, and said, when it refers to what neither the point nor the registry has."""
    known = {one.place for one in (*wanted.versions, *there.versions)}
    for ref in version.references:
        if (ref.subject, ref.version) not in known:
            reason = f"it refers to {ref.subject} version {ref.version}, which the point does not hold"
            verdicts.leave_out(SCHEMAS, str(version), reason, missing=True)
            return False
    return True


def _kept(ordered: Iterable[SchemaVersion], there: Schemas, verdicts: Verdicts) -> None:
    by_place = {one.place: one for one in there.versions}
    by_id = {one.id: one for one in there.versions}
    for version in ordered:
        other = by_place.get(version.place)
        same_id = by_id.get(version.id)
        if other is not None and (other.id != version.id or not same_schema(other, version)):
            verdicts.refuse(SCHEMAS, str(version), f"the registry has another schema there, with id {other.id}")
        elif other is None and same_id is not None and not same_schema(same_id, version):
            verdicts.refuse(SCHEMAS, str(version), f"id {version.id} is another schema on the registry: {same_id}")
        elif other is not None and (version.deleted or not other.deleted):
            verdicts.unchanged[SCHEMAS] += 1
        else:
            verdicts.steps.append(_registration(version, KEEP, there))


def _registration(version: SchemaVersion, ids: str, there: Schemas) -> RegisterSchema:
    shown = str(version.id) if ids == KEEP else None
    return RegisterSchema(
        area=SCHEMAS,
        action=ADD,
        subject=str(version),
        changes=(Change("type", None, version.type), *((Change("id", None, shown),) if shown is not None else ())),
        schema=version,
        ids=ids,
        beside=bool(there.versions),
        there=frozenset(one.version for one in there.versions if one.subject == version.subject),
    )


def _mapped(ordered: Iterable[SchemaVersion], there: Schemas, verdicts: Verdicts) -> None:
    """What the registry has already under the same subject goes by the id that it has there."""
    subjects: dict[str, list[SchemaVersion]] = {}
    for one in there.versions:
        if not one.deleted:
            subjects.setdefault(one.subject, []).append(one)
    landed: dict[Place, int] = {}
    for version in ordered:
        asked = referring(version, landed)
        known = any((ref.subject, ref.version) not in landed for ref in version.references)
        found = next(
            (one for one in subjects.get(version.subject, ()) if not known and same_schema(one, asked)),
            None,
        )
        if found is None:
            verdicts.steps.append(_registration(version, MAP, there))
        else:
            landed[version.place] = found.version
            verdicts.unchanged[SCHEMAS] += 1
        verdicts.schema_ids.append(
            SchemaId(
                subject=version.subject,
                version=version.version,
                old_id=version.id,
                new_version=None if found is None else found.version,
                new_id=None if found is None else found.id,
            )
        )


def referring(version: SchemaVersion, landed: Mapping[Place, int]) -> SchemaVersion:
    """The version with references to where the versions it refers to have landed."""
    references = tuple(
        SchemaReference(ref.name, ref.subject, landed.get((ref.subject, ref.version), ref.version))
        for ref in version.references
    )
    return replace(version, references=references)


def _deleted(ordered: Iterable[SchemaVersion], there: Schemas, verdicts: Verdicts) -> None:
    """Those that refer first: what is referred to cannot be deleted before."""
    gone = {one.place for one in there.versions if one.deleted}
    for version in reversed(list(ordered)):
        if version.deleted and version.place not in gone:
            changes = (Change("deleted", "false", "true"),)
            step = DeleteSchema(area=SCHEMAS, action=SET, subject=str(version), changes=changes, schema=version)
            verdicts.steps.append(step)


def _subject(rules: SubjectRules) -> str:
    return rules.subject or "the registry"


def _rules(rules: SubjectRules, there: SubjectRules, verdicts: Verdicts) -> None:
    wanted = {"compatibility": rules.compatibility, "more": rules.more or None}
    now = _given({"compatibility": there.compatibility, "more": there.more or None})
    changes = verdicts.changes(SCHEMAS, _subject(rules), _given(wanted), now, ())
    if changes and rules.compatibility is not None:
        # What is kept of the target is asked for again: one request sets both.
        asked = {change.key: change.after for change in changes}
        full = replace(
            rules,
            compatibility=asked.get("compatibility", now.get("compatibility", rules.compatibility)),
            more=asked.get("more", there.more) or "",
        )
        verdicts.steps.append(
            SetSubjectRules(area=SCHEMAS, action=SET, subject=_subject(rules), changes=changes, rules=full)
        )


def _mode(rules: SubjectRules, there: SubjectRules, verdicts: Verdicts) -> None:
    if rules.mode is None:
        return
    now = _given({"mode": there.mode})
    changes = verdicts.changes(SCHEMAS, _subject(rules), {"mode": rules.mode}, now, ())
    if changes:
        verdicts.steps.append(
            SetSubjectMode(
                area=SCHEMAS,
                action=SET,
                subject=_subject(rules),
                changes=changes,
                subject_name=rules.subject,
                mode=rules.mode,
            )
        )


def _given(values: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value is not None}
