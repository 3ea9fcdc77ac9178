"""A network with a transcript: every packet, effect and notice becomes a line of text."""

from nhrpd_py.core.address import Address, format_address
from nhrpd_py.core.effects import (
    AllowSources,
    AnswerCommand,
    CloseInterface,
    DropNeighbor,
    DropRoute,
    DropSa,
    Effect,
    EndSa,
    FilterSources,
    ForgetMark,
    Halt,
    NeighborState,
    OpenInterface,
    ResolveName,
    SetNeighbor,
    SetRoute,
    UnfilterSources,
    WantSa,
)
from nhrpd_py.core.notices import Notice
from nhrpd_py.packet import BadPacket, ClientInformation, Extension, ExtensionType, Message
from nhrpd_py.packet.iana import (
    PacketType,
    describe_cie,
    describe_error,
    describe_type,
)
from nhrpd_py.packet.inner import data_addresses, peek
from nhrpd_py.packet.message import decode
from tests.support.network import Network
from tests.support.station import Station

_EXTENSIONS = {int(member): member.name.lower().replace("_", "-") for member in ExtensionType}


class Dialogue(Network):
    """A network with a record in `lines`. Packets take 10 ms; there is no other weather unless a test sets it."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.lines: list[str] = []
        self.hidden: set[PacketType] = set()
        """Types of packets that are not recorded."""
        self._request_keys: dict[tuple[str, int], tuple[PacketType, Address]] = {}

    @property
    def text(self) -> str:
        """Returns the record as one text."""
        return "\n".join(self.lines) + "\n"

    def say(self, sentence: str) -> None:
        """Adds a heading to the record."""
        self.lines += ["", f"-- {sentence}"] if self.lines else [f"-- {sentence}"]

    def kill(self, name: str) -> None:
        super().kill(name)
        self._write(name, "is killed")

    def was_sent(self, station: Station, to: str, data: bytes, *, lost: bool) -> None:
        message = decode(data)
        if message.is_request and message.source_protocol == station.site.tunnel:
            key = (message.type, message.destination_protocol)
            known = self._request_keys.setdefault((station.name, message.request_id), key)
            assert known == key, f"{station.name} uses a request id twice"
        if message.type not in self.hidden:
            fate = " (lost)" if lost else ""
            self._write(station.name, f"-> {to} {describe_message(message)}{fate}")

    def was_asked(self, station: Station, effect: Effect) -> None:
        if isinstance(effect, Notice):
            self._write(station.name, f"* {describe_notice(effect)}")
        else:
            self._write(station.name, describe_effect(effect))

    def _write(self, name: str, sentence: str) -> None:
        self.lines.append(f"{self.now:9.3f} {name:8} {sentence}")


def describe_message(message: Message) -> str:
    """Returns a message as text, without lengths and checksums."""
    addresses = (
        f"{format_address(message.source_protocol)}[{format_address(message.source_nbma)}]"
        f" => {format_address(message.destination_protocol)}"
    )
    parts = [message.type.name, addresses, f"hops {message.hop_count}"]
    match message.type:
        case PacketType.ERROR_INDICATION:
            offender = peek(message.payload)
            about = describe_type(offender.type) if offender else "?"
            request_id = offender.request_id if offender else 0
            parts.append(f"{describe_error(message.error_code)} about {about} id {request_id}")
        case PacketType.TRAFFIC_INDICATION:
            source, destination = data_addresses(message.payload, message.protocol_type)
            parts.append(f"data {format_address(source)} > {format_address(destination)}")
        case _:
            parts.append(f"id {message.request_id} flags {message.flags:04x}")
    parts += [f"({_describe_entry(each)})" for each in message.entries]
    parts += [_describe_extension(each, message) for each in message.extensions]
    return " ".join(parts)


def describe_effect(effect: Effect) -> str:
    """Returns an effect other than a packet as text."""
    match effect:
        case OpenInterface():
            return f"opens {effect.name}"
        case CloseInterface():
            return f"closes ifindex {effect.ifindex}"
        case SetNeighbor():
            stale = " stale" if effect.state is NeighborState.STALE else ""
            return f"+ neighbor {format_address(effect.address)} at {format_address(effect.nbma)}{stale}"
        case DropNeighbor():
            return f"- neighbor {format_address(effect.address)}"
        case SetRoute():
            via = f" via {format_address(effect.gateway)}" if effect.gateway else ""
            mtu = f" mtu {effect.mtu}" if effect.mtu else ""
            return f"+ route {effect.prefix}{via}{mtu}"
        case DropRoute():
            return f"- route {effect.prefix}"
        case ResolveName():
            return f"looks up {effect.name}"
        case AnswerCommand():
            return f"answers: {effect.refused or effect.detail}"
        case Halt():
            return "halts"
        case WantSa():
            server = " as its server" if effect.server else ""
            wait = f" in {effect.delay_s:g} s" if effect.delay_s else ""
            return f"wants an SA with {format_address(effect.remote)}{server}{wait}"
        case DropSa():
            return f"needs no SA with {format_address(effect.remote)}"
        case FilterSources():
            return f"filters the sources of {effect.interface}" + (
                " (drops)" if effect.drop else ""
            )
        case UnfilterSources():
            return f"filters the sources of {effect.interface} no more"
        case AllowSources():
            news = [
                *(f"+{each}" for each in effect.added),
                *(f"-{each}" for each in effect.removed),
            ]
            return " ".join([f"sources of mark {effect.mark}:", *news])
        case ForgetMark():
            return f"no sources of mark {effect.mark}"
        case EndSa():
            return f"ends the SAs with {format_address(effect.remote)}"
        case _:
            raise AssertionError(effect)


def describe_notice(notice: Notice) -> str:
    """Returns the event of a notice and its fields, as in a log line."""
    fields = notice.as_dict()
    del fields["interface"]
    return " ".join([notice.event, *(f"{key}={value}" for key, value in fields.items())])


def _describe_entry(entry: ClientInformation) -> str:
    parts = [describe_cie(entry.code)] if entry.code else []
    parts.append(f"/{entry.prefix_length} {entry.holding_time_s}s")
    if entry.protocol:
        parts.append(format_address(entry.protocol))
    if entry.nbma:
        parts.append(f"at {format_address(entry.nbma)}")
    return " ".join(parts)


def _describe_extension(extension: Extension, message: Message) -> str:
    name = _EXTENSIONS.get(extension.type, f"extension-{extension.type}")
    if not extension.compulsory:
        name += "?"
    if extension.type == ExtensionType.AUTHENTICATION:
        return f"{name}:{extension.value[4:].decode('ascii', 'replace')}"
    try:
        entries = extension.entries(message.nbma_size, message.protocol_size)
    except BadPacket:
        return f"{name}:{extension.value.hex()}"
    return f"{name}:[{', '.join(map(_describe_entry, entries))}]" if entries else name
