/*
 * Registers many spokes at one hub, as fast as the hub lets it: the load of tools/bench.
 *
 * Sends ready-made Ethernet frames (IPv4, GRE with key, NHRP Registration Request as FRR's nhrpd
 * writes it without "unique") from a packet socket, a window of them unanswered at a time. Checks
 * every reply: addresses, both checksums, request id, code 0. Lost requests are sent again. With
 * --settle it goes on until the hub's kernel holds a neighbour and a route for each request more
 * than at the start, asked cheaply: two counters, no dumps. Prints one line of JSON.
 *
 * Spoke number i has the outer address 10.64.0.0+i and the tunnel address 10.192.0.0+i.
 *
 * It shares the processor with the hub. Under a window it therefore runs as SCHED_BATCH, which does
 * not interrupt the daemon at every reply: a load from outside would not do that either. One at a
 * time (window 1) it runs normally. Round trips end at the kernel's time stamp of the reply.
 *
 * With --interval-us it sends one request in so many microseconds instead: the load of spokes that
 * renew their registrations one after the other.
 */
#define _GNU_SOURCE
#include "frames.h"
#include "hub_state.h"

#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NBMA_BASE 0x0a400000u     /* 10.64.0.0 */
#define PROTOCOL_BASE 0x0ac00000u /* 10.192.0.0 */
#define NANO 1000000000LL
#define SETTLE_POLL_NS 1000000L

struct request {
    int64_t first_sent_at, sent_at; /* ns; 0: not yet sent */
    int64_t round_trip;             /* ns; 0: not yet answered */
};

static const char *device = "eth0", *hub_namespace, *hub_tries;
static uint8_t hub_mac[6];
static uint32_t hub_nbma, key = 42, first_spoke = 1, spokes = 1, requests, window = 32, first_id = 1;
static unsigned holding_time = 7200, retry_ms = 1000;
static double limit_s = 60;
static bool settle;
static int64_t interval, next_send_at; /* ns; 0: as fast as the window lets */

static uint8_t frames[MAX_WINDOW][FRAME_SIZE], received[MAX_WINDOW][SLOT];
static struct request *table;
static uint32_t next_request, answered, unanswered[MAX_WINDOW], in_flight;
static uint64_t refused, bad, repeated;
static int64_t last_reply_at;

static int64_t clock_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * NANO + time.tv_nsec;
}

/* What all requests have in common; `address_frame` fills in the rest. */
static void prepare_frame(uint8_t *frame)
{
    uint8_t *ip = frame + IP_AT, *gre = frame + GRE_AT, *nhrp = frame + NHRP_AT;
    uint8_t *mandatory = nhrp + 20, *cie = nhrp + CIE_CODE_AT, *extension = cie + 12;
    memset(frame, 0, FRAME_SIZE);
    memcpy(frame, hub_mac, 6);
    frame[6] = 0x02;
    frame[11] = 0xfe;
    put16(frame + 12, ETHERTYPE_IP);
    ip[0] = 0x45;
    put16(ip + 2, FRAME_SIZE - IP_AT);
    put16(ip + 6, 0x4000); /* do not fragment */
    ip[8] = 64;
    ip[9] = IPPROTO_GRE;
    put32(ip + 16, hub_nbma);
    put16(gre, 0x2000); /* key present */
    put16(gre + 2, ETHERTYPE_NHRP);
    put32(gre + 4, key);
    /* Fixed part: afn, protocol type, snap, hop count, size, checksum, extensions, version, type,
       lengths of the NBMA address and subaddress. */
    put16(nhrp, 1);
    put16(nhrp + 2, ETHERTYPE_IP);
    nhrp[9] = 1;
    put16(nhrp + 10, NHRP_SIZE);
    put16(nhrp + 14, (unsigned)(extension - nhrp));
    nhrp[16] = 1;
    nhrp[17] = REGISTRATION_REQUEST;
    nhrp[18] = 4;
    mandatory[0] = mandatory[1] = 4; /* lengths of the protocol addresses */
    put16(mandatory + 2, FLAG_NAT);
    cie[1] = 32; /* prefix length of a registration that is not unique */
    put16(cie + 6, holding_time);
    put16(extension, 0x8004); /* forward transit NHS record */
    put16(extension + 4, 0x8005); /* reverse transit NHS record */
    put16(extension + 8, 0x8003); /* responder address */
    put16(extension + 12, 0x0009); /* NAT address, with the NHS as FRR knows it: by its NBMA */
    put16(extension + 14, 20);
    extension[17] = 32;
    extension[24] = 4;
    extension[26] = 4;
    put32(extension + 28, hub_nbma);
    put16(extension + 36, 0x8000); /* end */
}

static void address_frame(uint8_t *frame, uint32_t index)
{
    uint8_t *ip = frame + IP_AT, *nhrp = frame + NHRP_AT, *mandatory = nhrp + 20;
    uint32_t spoke = first_spoke + index % spokes;
    put16(ip + 4, index);
    put32(ip + 12, NBMA_BASE + spoke);
    put32(mandatory + 4, first_id + index);
    put32(mandatory + 8, NBMA_BASE + spoke);
    put32(mandatory + 12, PROTOCOL_BASE + spoke);
    put32(mandatory + 16, PROTOCOL_BASE + spoke); /* to whatever NHS listens there */
    put16(ip + 10, 0);
    put16(ip + 10, checksum(ip, 20));
    put16(nhrp + 12, 0);
    put16(nhrp + 12, checksum(nhrp, NHRP_SIZE));
}

static void transmit(int sock, const uint32_t *indexes, unsigned count)
{
    struct mmsghdr messages[MAX_WINDOW];
    struct iovec vectors[MAX_WINDOW];
    memset(messages, 0, count * sizeof *messages);
    for (unsigned slot = 0; slot < count; slot++) {
        address_frame(frames[slot], indexes[slot]);
        vectors[slot] = (struct iovec){frames[slot], FRAME_SIZE};
        messages[slot].msg_hdr.msg_iov = &vectors[slot];
        messages[slot].msg_hdr.msg_iovlen = 1;
    }
    /* Replies are stamped by the kernel on this clock. */
    int64_t now = clock_ns(CLOCK_REALTIME);
    for (unsigned slot = 0; slot < count; slot++) {
        struct request *request = &table[indexes[slot]];
        if (!request->first_sent_at) request->first_sent_at = now;
        request->sent_at = now;
    }
    for (unsigned done = 0; done < count;) {
        int sent = sendmmsg(sock, messages + done, count - done, 0);
        if (sent > 0) done += sent;
        else if (errno == ENOBUFS || errno == EAGAIN) usleep(100);
        else if (errno != EINTR) die("sendmmsg: %s", strerror(errno));
    }
}

static void take_reply(const uint8_t *frame, size_t length, int64_t at)
{
    const uint8_t *ip = frame + IP_AT, *gre = frame + GRE_AT, *nhrp = frame + NHRP_AT;
    if (length < NHRP_AT + CIE_CODE_AT + 12 || ip[9] != IPPROTO_GRE) return;
    if (get16(gre + 2) != ETHERTYPE_NHRP || nhrp[17] != REGISTRATION_REPLY) return;
    unsigned size = get16(nhrp + 10);
    uint32_t index = get32(nhrp + 24) - first_id;
    if (ip[0] != 0x45 || checksum(ip, 20) || get16(gre) != 0x2000 || get32(gre + 4) != key ||
        get32(ip + 12) != hub_nbma || NHRP_AT + size > length || checksum(nhrp, size)) {
        bad++;
        return;
    }
    if (index >= requests) return; /* late, from an earlier run */
    struct request *request = &table[index];
    uint32_t spoke = first_spoke + index % spokes;
    if (!request->sent_at || get32(ip + 16) != NBMA_BASE + spoke ||
        get32(nhrp + 32) != PROTOCOL_BASE + spoke) {
        bad++;
        return;
    }
    if (request->round_trip) return; /* the answer to a repetition */
    if (nhrp[CIE_CODE_AT]) refused++;
    request->round_trip = at > request->first_sent_at ? at - request->first_sent_at : 1;
    answered++;
    last_reply_at = at;
    for (unsigned slot = 0; slot < in_flight; slot++)
        if (unanswered[slot] == index) {
            unanswered[slot] = unanswered[--in_flight];
            break;
        }
}

static void receive(int sock)
{
    static char controls[MAX_WINDOW][CMSG_SPACE(sizeof(struct timespec))];
    struct mmsghdr messages[MAX_WINDOW];
    struct iovec vectors[MAX_WINDOW];
    memset(messages, 0, sizeof messages);
    for (unsigned slot = 0; slot < MAX_WINDOW; slot++) {
        vectors[slot] = (struct iovec){received[slot], SLOT};
        messages[slot].msg_hdr = (struct msghdr){
            .msg_iov = &vectors[slot], .msg_iovlen = 1,
            .msg_control = controls[slot], .msg_controllen = sizeof controls[slot]};
    }
    int count = recvmmsg(sock, messages, MAX_WINDOW, MSG_DONTWAIT, NULL);
    for (int slot = 0; slot < count; slot++) {
        struct timespec time = {0};
        struct msghdr *header = &messages[slot].msg_hdr;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c))
            if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS)
                memcpy(&time, CMSG_DATA(c), sizeof time);
        int64_t at = time.tv_sec * NANO + time.tv_nsec;
        take_reply(received[slot], messages[slot].msg_len, at ? at : clock_ns(CLOCK_REALTIME));
    }
}

static void fill_window(int sock)
{
    uint32_t indexes[MAX_WINDOW];
    unsigned count = 0;
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    while (in_flight < window && next_request < requests && (!interval || next_send_at <= now)) {
        indexes[count++] = next_request;
        unanswered[in_flight++] = next_request++;
        next_send_at += interval;
    }
    if (count) transmit(sock, indexes, count);
}

static void repeat_lost(int sock)
{
    uint32_t indexes[MAX_WINDOW];
    unsigned count = 0;
    int64_t before = clock_ns(CLOCK_REALTIME) - retry_ms * 1000000LL;
    for (unsigned slot = 0; slot < in_flight; slot++)
        if (table[unanswered[slot]].sent_at < before) indexes[count++] = unanswered[slot];
    repeated += count;
    if (count) transmit(sock, indexes, count);
}

static int compare(const void *one, const void *other)
{
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

static void report(int64_t started_at, int64_t settled_at, double cpu_s, long neighbors, long routes)
{
    int64_t *trips = calloc(requests, sizeof *trips);
    uint32_t count = 0;
    if (!trips) die("no memory");
    for (uint32_t index = 0; index < requests; index++)
        if (table[index].round_trip) trips[count++] = table[index].round_trip;
    qsort(trips, count, sizeof *trips, compare);
    uint32_t last = count ? count - 1 : 0;
    printf("{\"requests\": %u, \"replies\": %u, \"refused\": %lu, \"bad\": %lu, \"repeated\": %lu, ",
           requests, answered, (unsigned long)refused, (unsigned long)bad, (unsigned long)repeated);
    printf("\"replied_s\": %.6f, \"settled_s\": %.6f, \"cpu_s\": %.6f, ",
           count ? (double)(last_reply_at - started_at) / NANO : 0,
           settled_at ? (double)(settled_at - started_at) / NANO : 0, cpu_s);
    printf("\"neighbors\": %ld, \"routes\": %ld, ", neighbors, routes);
    printf("\"median_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n", trips[last / 2] / 1e3,
           trips[(uint64_t)last * 99 / 100] / 1e3, trips[last] / 1e3);
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"device", 1, 0, 'd'}, {"hub-mac", 1, 0, 'm'}, {"hub-nbma", 1, 0, 'n'},
        {"key", 1, 0, 'k'}, {"first", 1, 0, 'f'}, {"spokes", 1, 0, 's'},
        {"requests", 1, 0, 'r'}, {"window", 1, 0, 'w'}, {"first-id", 1, 0, 'i'},
        {"holding-time", 1, 0, 'h'}, {"retry-ms", 1, 0, 'y'}, {"limit-s", 1, 0, 'l'},
        {"interval-us", 1, 0, 'v'}, {"settle", 1, 0, 'S'}, {"settle-namespace", 1, 0, 'N'}, {0}};
    unsigned mac[6] = {0};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) >= 0;) switch (option) {
        case 'd': device = optarg; break;
        case 'm':
            if (sscanf(optarg, "%x:%x:%x:%x:%x:%x", mac, mac + 1, mac + 2, mac + 3, mac + 4,
                       mac + 5) != 6)
                die("bad MAC address %s", optarg);
            for (int at = 0; at < 6; at++) hub_mac[at] = mac[at];
            break;
        case 'n': hub_nbma = ntohl(inet_addr(optarg)); break;
        case 'k': key = strtoul(optarg, NULL, 0); break;
        case 'f': first_spoke = strtoul(optarg, NULL, 0); break;
        case 's': spokes = strtoul(optarg, NULL, 0); break;
        case 'r': requests = strtoul(optarg, NULL, 0); break;
        case 'w': window = strtoul(optarg, NULL, 0); break;
        case 'i': first_id = strtoul(optarg, NULL, 0); break;
        case 'h': holding_time = strtoul(optarg, NULL, 0); break;
        case 'y': retry_ms = strtoul(optarg, NULL, 0); break;
        case 'v': interval = strtoll(optarg, NULL, 0) * 1000; break;
        case 'l': limit_s = strtod(optarg, NULL); break;
        case 'S': settle = true; hub_tries = optarg; break;
        case 'N': hub_namespace = optarg; break;
        default: exit(2);
        }
    if (!requests) requests = spokes;
    if (window < 1 || window > MAX_WINDOW || !spokes || spokes > 0x3fffff) die("bad numbers");
    if (settle && !hub_namespace) die("--settle needs --settle-namespace");
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    table = calloc(requests, sizeof *table);
    if (!table) die("no memory");
    for (unsigned slot = 0; slot < MAX_WINDOW; slot++) prepare_frame(frames[slot]);
    int sock = open_packets(device), netlink = settle ? open_hub_netlink(hub_namespace) : -1;
    long neighbors_before = settle ? count_neighbors(netlink) : 0, neighbors = 0;
    long routes_before = settle ? count_routes(hub_tries) : 0, routes = 0;
    struct sched_param ordinary = {0};
    if (window > 1 && sched_setscheduler(0, SCHED_BATCH, &ordinary))
        die("SCHED_BATCH: %s", strerror(errno));

    int64_t started_at = clock_ns(CLOCK_REALTIME), settled_at = 0;
    int64_t end = clock_ns(CLOCK_MONOTONIC) + (int64_t)(limit_s * NANO), next_look = 0;
    next_send_at = clock_ns(CLOCK_MONOTONIC);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    while (answered < requests && clock_ns(CLOCK_MONOTONIC) < end) {
        fill_window(sock);
        struct pollfd wait = {sock, POLLIN, 0};
        int64_t pause = next_send_at - clock_ns(CLOCK_MONOTONIC);
        int timeout = interval && pause < 50000000LL ? (pause > 0 ? pause / 1000000 + 1 : 0) : 50;
        if (poll(&wait, 1, timeout) > 0) receive(sock);
        int64_t now = clock_ns(CLOCK_MONOTONIC);
        if (now < next_look) continue;
        next_look = now + 50000000LL;
        repeat_lost(sock);
    }
    getrusage(RUSAGE_SELF, &after);
    while (settle && answered == requests && clock_ns(CLOCK_MONOTONIC) < end) {
        neighbors = count_neighbors(netlink) - neighbors_before;
        routes = count_routes(hub_tries) - routes_before;
        if (neighbors >= (long)spokes && routes >= (long)spokes) {
            settled_at = clock_ns(CLOCK_REALTIME);
            break;
        }
        nanosleep(&(struct timespec){0, SETTLE_POLL_NS}, NULL);
    }
    double cpu_s = (double)(after.ru_utime.tv_sec + after.ru_stime.tv_sec -
                            before.ru_utime.tv_sec - before.ru_stime.tv_sec) +
                   (double)(after.ru_utime.tv_usec + after.ru_stime.tv_usec -
                            before.ru_utime.tv_usec - before.ru_stime.tv_usec) / 1e6;
    report(started_at, settled_at, cpu_s, neighbors, routes);
    return answered == requests && (!settle || settled_at) ? 0 : 3;
}
