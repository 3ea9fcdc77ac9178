/* How many neighbours and routes the hub's kernel has, without asking for them all. */
#pragma once
#include <fcntl.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <unistd.h>

/* A netlink socket belongs to the network namespace that it was made in. */
static inline int open_hub_netlink(const char *hub_namespace)
{
    int here = open("/proc/self/ns/net", O_RDONLY), there = open(hub_namespace, O_RDONLY);
    if (here < 0 || there < 0 || setns(there, CLONE_NEWNET))
        die("%s: %s", hub_namespace, strerror(errno));
    int sock = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    if (sock < 0 || setns(here, CLONE_NEWNET)) die("netlink: %s", strerror(errno));
    close(here);
    close(there);
    return sock;
}

/* Entries of the IPv4 neighbour table (of all namespaces: hence only differences count). */
static inline long count_neighbors(int netlink)
{
    struct { struct nlmsghdr header; struct ndtmsg body; } ask = {
        {sizeof ask, RTM_GETNEIGHTBL, NLM_F_REQUEST | NLM_F_DUMP, 0, 0}, {.ndtm_family = AF_INET}};
    static char answer[65536];
    long entries = -1;
    if (send(netlink, &ask, sizeof ask, 0) < 0) die("netlink: %s", strerror(errno));
    for (;;) {
        ssize_t length = recv(netlink, answer, sizeof answer, 0);
        if (length < 0) die("netlink: %s", strerror(errno));
        struct nlmsghdr *message = (struct nlmsghdr *)answer;
        for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
            if (message->nlmsg_type == NLMSG_DONE) return entries;
            if (message->nlmsg_type == NLMSG_ERROR) die("netlink: neighbour tables refused");
            int left = (int)NLMSG_PAYLOAD(message, sizeof(struct ndtmsg));
            char *start = (char *)NLMSG_DATA(message) + NLMSG_ALIGN(sizeof(struct ndtmsg));
            bool arp = false;
            long said = -1;
            for (struct rtattr *a = (struct rtattr *)start; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
                if (a->rta_type == NDTA_NAME) arp = !strcmp(RTA_DATA(a), "arp_cache");
                if (a->rta_type == NDTA_CONFIG)
                    said = ((struct ndt_config *)RTA_DATA(a))->ndtc_entries;
            }
            if (arp && said >= 0) entries = said;
        }
    }
}

/* Prefixes in the hub's main table, from its /proc/net/fib_triestat. */
static inline long count_routes(const char *hub_tries)
{
    FILE *file = fopen(hub_tries, "r");
    char line[128];
    long prefixes = -1;
    bool main_table = false;
    if (!file) die("%s: %s", hub_tries, strerror(errno));
    while (fgets(line, sizeof line, file)) {
        if (!strncmp(line, "Main:", 5)) main_table = true;
        else if (line[0] != '\t' && line[0] != ' ') main_table = main_table && prefixes < 0;
        if (main_table && prefixes < 0) sscanf(line, " Prefixes: %ld", &prefixes);
    }
    fclose(file);
    return prefixes;
}
