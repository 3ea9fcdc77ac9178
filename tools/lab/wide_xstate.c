/*
 * Preloaded into User-Mode Linux on processors whose XSAVE area is larger than it knows.
 *
 * UML 6.1 keeps 2696 bytes of extended register state per process (x87 to AVX-512 and PKRU). With
 * AMX the area has 11008 bytes, and the host refuses to set a part of it: PTRACE_SETREGSET of
 * NT_X86_XSTATE fails with EFAULT, and the guest dies at its first process. Here the part is
 * completed to the whole, with what lies beyond it marked as being in its initial state. Programs
 * in the guest lose nothing: they cannot ask for AMX there.
 *
 * Called by UML's one kernel thread only, on a small stack and without malloc: hence static memory.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

#define XSTATE_HEADER 512 /* offset of the 64-bit mask of the components in use */
#define FIRST_EXTENDED 2  /* components 0 and 1 are the legacy area */
#define COMPONENTS 63

static long (*real_ptrace)(int, pid_t, void *, void *);
static unsigned char whole[32768] __attribute__((aligned(64)));
static size_t whole_length;

__attribute__((constructor)) static void find_real_ptrace(void)
{
    *(void **)&real_ptrace = dlsym(RTLD_NEXT, "ptrace");
}

static uint64_t components_within(size_t length)
{
    uint64_t mask = 3;
    for (unsigned component = FIRST_EXTENDED; component < COMPONENTS; component++) {
        unsigned size, offset, flags, unused;
        __cpuid_count(0xd, component, size, offset, flags, unused);
        if (size != 0 && offset + size <= length)
            mask |= (uint64_t)1 << component;
    }
    return mask;
}

long ptrace(enum __ptrace_request request, ...)
{
    static uint64_t known;
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);

    if (request != PTRACE_SETREGSET || (uintptr_t)address != NT_X86_XSTATE)
        return real_ptrace(request, pid, address, data);

    struct iovec *part = data;
    struct iovec all = {.iov_base = whole, .iov_len = sizeof whole};
    if (whole_length == 0) {
        if (real_ptrace(PTRACE_GETREGSET, pid, address, &all) < 0)
            return -1;
        whole_length = all.iov_len;
        known = components_within(part->iov_len);
        memset(whole, 0, sizeof whole);
    }
    if (part->iov_len >= whole_length || part->iov_len < XSTATE_HEADER + sizeof known)
        return real_ptrace(request, pid, address, data);

    uint64_t in_use;
    memcpy(whole, part->iov_base, part->iov_len);
    memcpy(&in_use, whole + XSTATE_HEADER, sizeof in_use);
    in_use &= known;
    memcpy(whole + XSTATE_HEADER, &in_use, sizeof in_use);
    all.iov_len = whole_length;
    return real_ptrace(request, pid, address, &all);
}
