/*
 * A hub that keeps nothing: answers each Registration Request at once. Shows what the generator
 * itself can do, which is to be well above what any daemon does. Runs until it is ended.
 */
#define _GNU_SOURCE
#include "frames.h"

/* Turns a request into its reply, in place; returns false for any other frame. */
static bool answer_frame(uint8_t *frame, size_t length)
{
    uint8_t *ip = frame + IP_AT, *nhrp = frame + NHRP_AT, address[6];
    if (length < FRAME_SIZE || ip[9] != IPPROTO_GRE || nhrp[17] != REGISTRATION_REQUEST)
        return false;
    memcpy(address, frame, 6);
    memcpy(frame, frame + 6, 6);
    memcpy(frame + 6, address, 6);
    memcpy(address, ip + 12, 4);
    memcpy(ip + 12, ip + 16, 4);
    memcpy(ip + 16, address, 4);
    nhrp[17] = REGISTRATION_REPLY;
    put16(nhrp + 12, 0);
    put16(nhrp + 12, checksum(nhrp, NHRP_SIZE));
    return true;
}

static uint8_t received[MAX_WINDOW][SLOT];

static _Noreturn void answer_all(int sock)
{
    struct mmsghdr messages[MAX_WINDOW];
    struct iovec vectors[MAX_WINDOW];
    for (;;) {
        memset(messages, 0, sizeof messages);
        for (unsigned slot = 0; slot < MAX_WINDOW; slot++) {
            vectors[slot] = (struct iovec){received[slot], SLOT};
            messages[slot].msg_hdr.msg_iov = &vectors[slot];
            messages[slot].msg_hdr.msg_iovlen = 1;
        }
        int count = recvmmsg(sock, messages, MAX_WINDOW, MSG_WAITFORONE, NULL), answers = 0;
        for (int slot = 0; slot < count; slot++) {
            if (!answer_frame(received[slot], messages[slot].msg_len)) continue;
            vectors[slot].iov_len = messages[slot].msg_len;
            messages[answers++].msg_hdr.msg_iov = &vectors[slot];
        }
        if (answers > 0) sendmmsg(sock, messages, answers, 0);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) die("which device?");
    answer_all(open_packets(argv[1]));
}
