/*
 * Lets User-Mode Linux 6.1 run on processors whose extended state is larger than it knows (AMX).
 *
 * It sets its processes' floating point registers with as many octets as it has room for, and Linux since 5.16 takes all of them
 * or none (EFAULT). Here what it leaves out is read first and put back with the rest: in the standard format of XSAVE every part has a
 * fixed place, and the header, which says what is in use, is among what it has.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif

long ptrace(enum __ptrace_request request, ...)
{
	static long (*real)(int, ...);
	/* Its kernel stacks are small, and it runs on one processor. */
	static char state[1 << 16];
	struct iovec whole = { state, sizeof(state) };
	struct iovec *given;
	void *pid, *address, *data;
	va_list arguments;
	long result;

	va_start(arguments, request);
	pid = va_arg(arguments, void *);
	address = va_arg(arguments, void *);
	data = va_arg(arguments, void *);
	va_end(arguments);
	if (!real)
		real = (long (*)(int, ...))dlsym(RTLD_NEXT, "ptrace");

	result = real(request, pid, address, data);
	if (request != PTRACE_SETREGSET || address != (void *)NT_X86_XSTATE || result == 0 || errno != EFAULT)
		return result;
	given = data;
	if (real(PTRACE_GETREGSET, pid, address, &whole) != 0 || given->iov_len > whole.iov_len)
		return -1;
	memcpy(state, given->iov_base, given->iov_len);
	return real(PTRACE_SETREGSET, pid, address, &whole);
}
