"""What peers say to the engine: packets of every type that are right, nearly right, or wrong.

Three sources, mixed: messages built from the addresses of a small world, answers to what the engine itself sent, and
octets of earlier packets, spoiled. A packet comes from the outer address that its message names, or from another one.
"""

import random
from collections import deque

from nhrpd_py.core.address import Address, Prefix, cut, parse_address, parse_prefix
from nhrpd_py.packet.cie import ClientInformation
from nhrpd_py.packet.extension import Extension, cisco_authentication, of_entries
from nhrpd_py.packet.iana import ExtensionType, PacketType
from nhrpd_py.packet.message import Message, decode, encode
from tests.fuzz.packet_fuzzer import mutate
from tests.support.messages import (
    a_data_packet,
    a_purge_request,
    a_registration_reply,
    a_registration_request,
    a_resolution_reply,
    a_resolution_request,
    a_traffic_indication,
    an_error_indication,
)
from tests.support.sites import HUB, SECRET, Site, a_site

SITES = 9
"""Sites of the world; others are strangers."""
POOL = 512
"""Earlier packets that are kept, to be sent again and to be spoiled."""
ODD_IPV4 = (
    "0.0.0.0",
    "8.8.8.8",
    "10.8.8.8",
    "10.255.255.255",
    "100.64.0.7",
    "127.0.0.1",
    "169.254.1.1",
    "192.168.7.7",
    "203.0.113.9",
    "224.0.0.5",
    "255.255.255.255",
)
ODD_IPV6 = ("::", "::1", "2001:db8:77::7", "fd00:ff::7777", "fe80::7", "ff02::5", "2001:db8::ffff")
CODES = (0, 0, 0, 0, 4, 5, 11, 12, 13, 14, 77)
ERRORS = (1, 2, 3, 6, 7, 8, 9, 10, 11, 15, 16, 99)
HOLDING_TIMES_S = (0, 1, 3, 60, 60, 600, 7200, 65535)
LENGTHS = (0, 1, 7, 8, 16, 20, 24, 25, 30, 31, 32, 32, 33, 64, 128, 255)
FLAGS = (0, 0x0002, 0x0802, 0x8000, 0x8002, 0xC802, 0xE802, 0xF802, 0xFFFF)
KINDS = tuple(PacketType)
ANSWERED = (
    PacketType.REGISTRATION_REQUEST,
    PacketType.RESOLUTION_REQUEST,
    PacketType.PURGE_REQUEST,
)


class World:
    """The addresses that are said: of sites, of hosts behind them, of our own machine, and odd ones."""

    def __init__(self, number: int, *, ipv6_overlay: bool = False, ipv6_underlay: bool = False):
        self.sites = [
            a_site(each, ipv6_overlay=ipv6_overlay, ipv6_underlay=ipv6_underlay)
            for each in range(1, SITES + 1)
        ]
        self.own = self.sites[number - 1]
        self.others = [each for each in self.sites if each is not self.own]
        self.hub = self.sites[HUB.number - 1]
        odd_overlay = ODD_IPV6 if ipv6_overlay else ODD_IPV4
        odd_underlay = ODD_IPV6 if ipv6_underlay else ODD_IPV4
        self.nbmas = (
            *(each.nbma for each in self.sites for _ in range(3)),
            *map(parse_address, odd_underlay),
        )
        far = a_site(200, ipv6_overlay=ipv6_overlay)
        self.protocols = (
            *(each.tunnel for each in self.sites for _ in range(3)),
            *(each.host for each in self.sites for _ in range(2)),
            *(each.on_lan(last) for each in self.sites for last in (1, 77, 130, 255)),
            *(each.nbma for each in self.sites if len(each.nbma) == len(each.tunnel)),
            *(far.on_lan(last) for last in range(1, 9)),
            far.tunnel,
            *map(parse_address, odd_overlay),
        )
        summaries = ("fd00::/16", "fd00:ff::/64") if ipv6_overlay else ("172.16.0.0/12",)
        self.prefixes: tuple[Prefix, ...] = (
            *(each.lan for each in self.sites),
            *map(parse_prefix, summaries),
            parse_prefix("::/0" if ipv6_overlay else "0.0.0.0/0"),
        )


class Grammar:
    """Makes packets as (outer source, octets)."""

    def __init__(self, world: World, rng: random.Random, *, signed: bool) -> None:
        self._world = world
        self._rng = rng
        self._signed = signed
        self._pool: list[tuple[Address, bytes]] = []
        self.sent: deque[tuple[Address, bytes]] = deque(maxlen=32)
        """What the engine sent last, with its outer destination."""

    def packet(self) -> tuple[Address, bytes]:
        """Returns the next packet."""
        rng = self._rng
        dice = rng.random()
        if dice < 0.45 and len(self._pool) > 64:
            source, data = rng.choice(self._pool)
            if dice < 0.35:
                data = mutate(data, rng)
            if dice < 0.05:
                source = rng.choice(self._world.nbmas)
            return source, data
        made = self._answer() if dice < 0.7 and self.sent else self._message()
        if len(self._pool) < POOL:
            self._pool.append(made)
        else:
            self._pool[rng.randrange(POOL)] = made
        return made

    # Messages that nobody asked for.

    def _message(self) -> tuple[Address, bytes]:
        rng, world = self._rng, self._world
        site = rng.choice(world.others)
        kind = rng.choice(KINDS)
        hub = world.hub if world.own is not world.hub else site
        outer = rng.choice((site.nbma, site.nbma, hub.nbma))
        match kind:
            case PacketType.REGISTRATION_REQUEST:
                message = a_registration_request(site, destination_protocol=world.own.tunnel)
            case PacketType.RESOLUTION_REQUEST:
                message = a_resolution_request(site, rng.choice((world.own.tunnel, world.own.host)))
            case PacketType.PURGE_REQUEST:
                message = a_purge_request(site, self._prefix(), world.own.tunnel)
            case PacketType.TRAFFIC_INDICATION:
                target = rng.choice(world.protocols)
                message = a_traffic_indication(hub, world.own.host, target)
                outer = hub.nbma
            case PacketType.ERROR_INDICATION:
                about = a_resolution_request(world.own, site.host)
                message = an_error_indication(site, rng.choice(ERRORS), about)
            case _:
                about = a_resolution_request(world.own, site.host)
                message = a_resolution_reply(about, site)
        return self._finish(message, site, outer, kind)

    # Answers, true and false.

    def _answer(self) -> tuple[Address, bytes]:
        rng, world = self._rng, self._world
        to, data = rng.choice(self.sent)
        request = decode(data)
        site = next((each for each in world.others if each.nbma == to), None)
        site = site or rng.choice(world.others)
        kind = request.type
        outer = to
        match kind:
            case PacketType.REGISTRATION_REQUEST:
                message = a_registration_reply(
                    request, server=request.destination_protocol or site.tunnel
                )
                kind = PacketType.REGISTRATION_REPLY
            case PacketType.RESOLUTION_REQUEST:
                asked = request.destination_protocol
                behind = (each for each in world.others if asked in (each.tunnel, each.host))
                responder = next(behind, site)
                message = a_resolution_reply(request, responder, rng.choice((24, 24, 32, 16, 64)))
                if rng.random() < 0.4:
                    outer = responder.nbma
                site = responder
                kind = PacketType.RESOLUTION_REPLY
            case PacketType.PURGE_REQUEST:
                message = a_resolution_reply(request, site)
                kind = PacketType.PURGE_REPLY
            case _:
                message, kind = request, rng.choice(KINDS)
        if kind in ANSWERED or rng.random() < 0.1:
            message = an_error_indication(site, rng.choice(ERRORS), request)
            kind = PacketType.ERROR_INDICATION
        return self._finish(message, site, outer, kind)

    # What is changed of a right message.

    def _finish(
        self, message: Message, site: Site, outer: Address, kind: PacketType
    ) -> tuple[Address, bytes]:
        """Changes some fields, signs, and encodes."""
        rng, world = self._rng, self._world
        fields = {name: getattr(message, name) for name in message.__slots__}
        fields["type"] = kind
        is_indication = kind in (PacketType.ERROR_INDICATION, PacketType.TRAFFIC_INDICATION)
        for _ in range(rng.choice((0, 0, 1, 1, 2, 4))):
            match rng.randrange(12):
                case 0:
                    fields["source_protocol"] = rng.choice(world.protocols)
                case 1:
                    fields["destination_protocol"] = rng.choice(world.protocols)
                case 2:
                    fields["source_nbma"] = rng.choice(world.nbmas)
                case 3:
                    fields["flags"] = rng.choice(FLAGS)
                case 4:
                    fields["request_id"] = rng.randrange(12)
                case 5:
                    fields["hop_count"] = rng.choice((0, 1, 2, 255))
                case 6:
                    fields["entries"] = self._entries()
                case 7:
                    fields["entries"] = tuple(
                        self._changed(each) for each in fields["entries"] or self._entries()
                    )
                case 8:
                    outer = rng.choice(world.nbmas)
                case 9:
                    extensions = {each.type: each for each in fields["extensions"]}
                    new = self._extension()
                    extensions[new.type] = new
                    fields["extensions"] = tuple(extensions.values())
                case 10:
                    fields["extensions"] = ()
                case _:
                    source, destination = rng.choice(world.protocols), rng.choice(world.protocols)
                    fields["payload"] = a_data_packet(source, destination)
        if is_indication:
            fields["entries"] = ()
        else:
            fields["payload"] = b""
        if self._signed and rng.random() < 0.95:
            unsigned = (
                each for each in fields["extensions"] if each.type != ExtensionType.AUTHENTICATION
            )
            fields["extensions"] = (*unsigned, cisco_authentication(SECRET.value))
        return outer, encode(Message(**fields))

    def _prefix(self) -> Prefix:
        rng = self._rng
        if rng.random() < 0.5:
            return rng.choice(self._world.prefixes)
        address = rng.choice(self._world.protocols)
        length = min(rng.choice(LENGTHS), len(address) * 8)
        return Prefix(cut(address, length), length)

    def _entries(self) -> tuple[ClientInformation, ...]:
        rng = self._rng
        return tuple(self._entry() for _ in range(rng.choice((0, 1, 1, 2, 3, 8, 40))))

    def _entry(self) -> ClientInformation:
        rng, world = self._rng, self._world
        return ClientInformation(
            code=rng.choice(CODES),
            prefix_length=rng.choice(LENGTHS),
            mtu=rng.choice((0, 0, 100, 1400, 65535)),
            holding_time_s=rng.choice(HOLDING_TIMES_S),
            nbma=rng.choice((b"", rng.choice(world.nbmas))),
            protocol=rng.choice((b"", rng.choice(world.protocols))),
            preference=rng.choice((0, 0, 1, 255)),
        )

    def _changed(self, entry: ClientInformation) -> ClientInformation:
        rng, new = self._rng, self._entry()
        fields = {name: getattr(rng.choice((entry, entry, new)), name) for name in entry.__slots__}
        return ClientInformation(**fields)

    def _extension(self) -> Extension:
        rng = self._rng
        kind = rng.choice((3, 4, 4, 5, 5, 7, 8, 9, 9, 10, 77))
        compulsory = rng.random() < 0.5
        if kind in (3, 4, 5, 9):
            return of_entries(kind, self._entries()[:4], compulsory)
        return Extension(kind, rng.randbytes(rng.randrange(12)), compulsory)
