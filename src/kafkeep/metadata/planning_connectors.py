"""From the connectors of a point and what Kafka Connect runs to the steps that make them again: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from kafkeep.connectors import STOPPED, Connector, ConnectorOffset, Connectors, ConnectorSetting
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.options import CONNECTORS, ApplyOptions
from kafkeep.metadata.plan import CREATE, SET, Change
from kafkeep.metadata.planning_services import held_on_both
from kafkeep.metadata.steps_services import (
    CreateConnector,
    SetConnectorConfig,
    SetConnectorOffsets,
    SetConnectorState,
)
from kafkeep.metadata.verdicts import Verdicts

OLDEST: Final = (3, 7)
"""The first Connect that can make a connector without starting it (KIP-980)."""
HIDDEN: Final = "(not shown)"


def plan_connectors(source: ClusterImage, target: ClusterImage, options: ApplyOptions, verdicts: Verdicts) -> None:
    """Connectors that are missing are made stopped; nothing is started unless `resume_connectors` says so."""
    held = held_on_both(CONNECTORS, "Kafka Connect", (source, source.connectors), (target, target.connectors), verdicts)
    if held is None:
        return
    wanted, there = held
    now = {connector.name: connector for connector in there.connectors}
    unread = {name.removeprefix("connector ") for name in there.unreadable}
    chosen = [connector for connector in wanted.connectors if connector.name not in unread]
    for connector in chosen:
        if connector.name not in now:
            _create(connector, there, verdicts)
    for connector in chosen:
        if connector.name in now:
            _align(connector, now[connector.name], verdicts)
    made = {step.subject for step in verdicts.steps if isinstance(step, CreateConnector)}
    for connector in chosen:
        if connector.name in made or connector.name in now:
            _offsets(connector, now.get(connector.name), there, verdicts)
    for connector in chosen:
        if connector.name in made or connector.name in now:
            _state(connector, now.get(connector.name), options, verdicts)


def _create(connector: Connector, there: Connectors, verdicts: Verdicts) -> None:
    if _version(there.version) < OLDEST:
        reason = f"Connect {there.version} cannot make a connector without starting it; that takes 3.7"
        verdicts.leave_out(CONNECTORS, connector.name, reason, missing=True)
        return
    if connector.holes:
        reason = f"the point was made without credentials and does not hold {', '.join(connector.holes)}"
        verdicts.leave_out(CONNECTORS, connector.name, reason, missing=True)
        return
    changes = tuple(Change(each.name, None, shown(each)) for each in connector.config)
    verdicts.steps.append(
        CreateConnector(
            area=CONNECTORS, action=CREATE, subject=connector.name, changes=changes, connector=_bare(connector)
        )
    )


def _bare(connector: Connector) -> Connector:
    return replace(connector, offsets=(), tasks=())


def _version(text: str) -> tuple[int, int]:
    """Major and minor number; one that has none is taken for new enough: the request itself then tells."""
    match = re.match(r"(\d+)\.(\d+)", text)
    return OLDEST if match is None else (int(match[1]), int(match[2]))


def shown(setting: ConnectorSetting) -> str:
    """The value of a setting, or that there is one which is not shown."""
    return HIDDEN if setting.value is None else setting.value


def _align(connector: Connector, now: Connector, verdicts: Verdicts) -> None:
    held = {each.name: each for each in now.config}
    same = {
        each.name
        for each in connector.config
        if each.name in held and (each.is_hole or held[each.name].is_hole or held[each.name] == each)
    }
    verdicts.unchanged[CONNECTORS] += len(same)
    other = [each for each in connector.config if each.name not in same]
    for each in other:
        if each.is_hole:
            reason = "the point was made without credentials and does not hold it"
            verdicts.leave_out(CONNECTORS, f"{connector.name}: {each.name}", reason, missing=True)
    values = {each.name: shown(each) for each in other if not each.is_hole}
    # Both sides may be secrets that are not shown: what is compared must differ where they do.
    before = {name: _other(held[name], value) for name, value in values.items() if name in held}
    changes = verdicts.changes(CONNECTORS, connector.name, values, before, ())
    if changes:
        keys = {change.key for change in changes}
        config = tuple(each for each in connector.config if each.name in keys)
        verdicts.steps.append(
            SetConnectorConfig(
                area=CONNECTORS,
                action=SET,
                subject=connector.name,
                changes=changes,
                connector=replace(_bare(connector), config=config),
            )
        )


def _other(setting: ConnectorSetting, wanted: str) -> str:
    return "(another, not shown)" if shown(setting) == wanted else shown(setting)


def _offsets(connector: Connector, now: Connector | None, there: Connectors, verdicts: Verdicts) -> None:
    if connector.type == "sink":
        if connector.offsets and now is None:
            reason = "positions of its group are restored with the records: offsets are others in another cluster"
            verdicts.leave_out(CONNECTORS, f"{connector.name}: offsets", reason)
        return
    wanted = _rows(connector.offsets)
    held = {} if now is None else _rows(now.offsets)
    if now is not None and wanted != held and now.state != STOPPED:
        reason = f"it is {now.state}: only a stopped connector takes offsets"
        verdicts.leave_out(CONNECTORS, f"{connector.name}: offsets", reason)
        return
    changes = verdicts.changes(CONNECTORS, f"{connector.name}: offsets", wanted, held, ())
    if changes:
        rows = tuple(ConnectorOffset(change.key, wanted[change.key]) for change in changes)
        verdicts.steps.append(
            SetConnectorOffsets(
                area=CONNECTORS,
                action=SET,
                subject=f"{connector.name}: offsets",
                changes=changes,
                connector=replace(connector, config=(), offsets=rows, tasks=()),
            )
        )


def _rows(offsets: tuple[ConnectorOffset, ...]) -> Mapping[str, str]:
    return {one.partition: one.offset for one in offsets}


def _state(connector: Connector, now: Connector | None, options: ApplyOptions, verdicts: Verdicts) -> None:
    before = STOPPED if now is None else now.state
    if connector.state == STOPPED or before != STOPPED:
        return
    if not options.resume_connectors:
        verdicts.leave_out(CONNECTORS, connector.name, f"it was {connector.state} and stays stopped")
        return
    changes = (Change("state", STOPPED, connector.state),)
    verdicts.steps.append(
        SetConnectorState(
            area=CONNECTORS, action=SET, subject=connector.name, changes=changes, connector=_stateless(connector)
        )
    )


def _stateless(connector: Connector) -> Connector:
    return replace(_bare(connector), config=())
