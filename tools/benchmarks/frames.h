/* NHRP in GRE with a key in IPv4 in Ethernet, and the packet socket that carries it. */
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define MAX_WINDOW 256 /* frames handled in one go */
#define SLOT 2048
#define RECEIVE_BUFFER (8 << 20)

#define ETHERTYPE_NHRP 0x2001
#define REGISTRATION_REQUEST 3
#define REGISTRATION_REPLY 4
#define FLAG_NAT 0x0002 /* FRR: "I understand the NAT extension" */

#define IP_AT 14
#define GRE_AT (IP_AT + 20)
#define NHRP_AT (GRE_AT + 8)
#define NHRP_SIZE 92
#define FRAME_SIZE (NHRP_AT + NHRP_SIZE)
#define CIE_CODE_AT 40 /* in NHRP, with 4-octet addresses */

static inline void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("generator: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static inline void put16(uint8_t *at, unsigned value) { at[0] = value >> 8; at[1] = value; }
static inline void put32(uint8_t *at, uint32_t value) { put16(at, value >> 16); put16(at + 2, value); }
static inline unsigned get16(const uint8_t *at) { return at[0] << 8 | at[1]; }
static inline uint32_t get32(const uint8_t *at) { return (uint32_t)get16(at) << 16 | get16(at + 2); }

/* RFC 1071; 0 over a block that contains its right checksum. */
static inline unsigned checksum(const uint8_t *data, size_t length)
{
    uint32_t sum = 0;
    for (; length > 1; data += 2, length -= 2) sum += get16(data);
    if (length) sum += data[0] << 8;
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

static inline int open_packets(const char *device)
{
    int sock = socket(AF_PACKET, SOCK_RAW, 0), size = RECEIVE_BUFFER, on = 1;
    if (sock < 0) die("packet socket: %s", strerror(errno));
    setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(sock, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    setsockopt(sock, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    setsockopt(sock, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
    at.sll_ifindex = (int)if_nametoindex(device);
    if (!at.sll_ifindex || bind(sock, (struct sockaddr *)&at, sizeof at))
        die("%s: %s", device, strerror(errno));
    return sock;
}
