// The programs of the engine `ebpf`: they carry what is common in the kernel and leave everything else as it is.
//
//   TUN devices, egress  encap   an IP packet to what is behind a session becomes a data message and leaves through its uplink
//   uplinks, ingress     decap   a data message of a session becomes an IP packet again
//   helper, ingress      merged  what the helper (a veth pair) merged goes to the host through the session's TUN device
//
// Of a packet on the shared TUN device (l2tp0) the destination says which session it is of, of one on a session's own that device does.
//
// A packet that is not carried is not touched: `encap` lets it reach the queue of the TUN device and `decap` the UDP socket, where the engine `tun`
// takes it. So these programs only ask "is this the common case?", and never decide what is wrong with the rest.
//
// Why the helper: the stack merges the segments of a TCP stream (GRO) before TC sees them, when they are still datagrams to it. The way through the
// pair merges them as they are after decapsulation.
//
// Octets of what is carried, L = 6 or 8, P = 1 to 4:
//   Ethernet 14 | IPv4 20, no options, or IPv6 40 | UDP 8 | L2TPv2 L: flags, [length], tunnel id, session id | PPP P: [FF 03] [00] 21 or 57 | IP packet
//
// Numbers that end in `_be` are as on the wire; all others are the host's. A packet inside a message begins at any octet, and not every processor reads
// words from there: its header is looked at in a copy. What is outside lies at even octets, and IP at a multiple of four, as drivers see to it.

#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

// What is older in some headers than in the kernels that we run on (linux/bpf.h).
#define ADJ_ROOM_DECAP_L3_IPV4 (1ULL << 7)
#define ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8)

// linux/if_ether.h, linux/pkt_cls.h, linux/in.h, linux/socket.h
#define ETH_LEN 14
#define ETH_P_IPV4_BE 0x0008
#define ETH_P_IPV6_BE 0xdd86
#define TC_PASS -1 // TC_ACT_UNSPEC, TCX_NEXT: the next program's turn
#define TC_DROP 2
#define PACKET_HOST 0
#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_ICMP6 58
#define FAMILY_IPV4 2
#define FAMILY_IPV6 10

#define IPV4_LEN 20
#define IPV6_LEN 40
#define UDP_LEN 8
#define TCP_LEN 20
#define TCP_SYN 2
#define HEAD_MAX 10

#define SWAP16(x) __builtin_bswap16(x)
#define SWAP32(x) __builtin_bswap32(x)

static void *(*map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*skb_load)(const struct __sk_buff *, __u32 at, void *, __u32 len) = (void *)BPF_FUNC_skb_load_bytes;
static long (*skb_store)(struct __sk_buff *, __u32 at, const void *, __u32 len, __u64 flags) = (void *)BPF_FUNC_skb_store_bytes;
static long (*skb_pull)(struct __sk_buff *, __u32 len) = (void *)BPF_FUNC_skb_pull_data;
static long (*skb_adjust_room)(struct __sk_buff *, __s32 by, __u32 mode, __u64 flags) = (void *)BPF_FUNC_skb_adjust_room;
static long (*skb_change_head)(struct __sk_buff *, __u32 by, __u64 flags) = (void *)BPF_FUNC_skb_change_head;
static long (*fib_lookup)(void *, struct bpf_fib_lookup *, int len, __u32 flags) = (void *)BPF_FUNC_fib_lookup;
static long (*redirect)(__u32 device, __u64 flags) = (void *)BPF_FUNC_redirect;
static long (*redirect_neigh)(__u32 device, struct bpf_redir_neigh *, int len, __u64 flags) = (void *)BPF_FUNC_redirect_neigh;

// Sessions.
#define HAS_IPV4 1
#define HAS_IPV6 2
#define ECN 4           // RFC 9601: the ECN field is copied to the outside and merged with it where packets come out
#define CHECKSUM 8      // the UDP checksum is wanted
#define UNASKED 16      // not for whatever can be: nothing is sent into `near_ends`, or taken that has a UDP checksum
#define OWN_DEVICE 32   // nothing else is on `device`, and nothing is asked of where packets are from
#define OUTER_IPV6 64   // it goes over IPv6

struct session {
	__u32 device;      // where its packets come from and go to on this host
	__u32 local_be[4], remote_be[4]; // of IPv4 the first word alone
	__u32 peer4_be, peer6_be[4]; // what the peer's end of it has inside
	__u16 local_port_be, remote_port_be;
	__u16 mtu;         // the largest packet inside
	__u8 flags;
	__u8 tos;          // the outer TOS octet, ECN field 0
	__u8 head_len;     // of `head`
	__u8 head[HEAD_MAX]; // L2TP and PPP headers for IPv4
	__u8 reserved;
};

// Why a packet of a session is not carried. All but the last two are left to `tun`, which has the last word.
enum reason {
	LAYER_CLOSED, // IPv4 or IPv6 is not open on it
	NO_PACKET,    // no whole packet of the protocol that its frame says: PPP's control frames, above all
	TOO_LARGE,    // for the session, or nobody knows how large it is on the wire
	LARGE_MSS,    // it may announce a larger segment than there is room for
	OF_TUNNEL,    // a datagram of the tunnel itself
	CHECKSUMS,    // what the outer checksum would be is not known, or there is none, or one, where that is not for us
	NO_PATH,      // the uplink has no path for it, or none for so large a one
	NEAR_END,     // the uplink ends on this machine
	WRONG_PEER,   // from another address or port
	SPOOFED,      // its source is not behind the session
	MERGED,       // datagrams that were merged, and not all of one size
	CONGESTION,   // marked on the way, and can't tell
	NO_ROOM,      // the kernel made no room for headers, or did not take them off
	UNFINISHED,   // dropped: what was begun could not be ended
	STRANGER,     // dropped: came through the helper, and not from here
	REASONS,
};

struct counters {
	__u64 rx_packets, rx_bytes, tx_packets, tx_bytes;
	__u64 supers; // super-packets came in, so there is nothing to merge
};

// What a packet inside needs to know of the host.
struct host {
	__u32 shared;   // the shared device, l2tp0; 0: there is none
	__u32 helper;   // the helper's near end; 0: there is none
	__u32 path;     // a device of ours that forwards: paths are looked up as its packets'. 0, in tests: none is looked up
	__u32 link_len; // octets before IP on TUN devices: none, but in tests those of Ethernet
	__u8 far[6];    // MAC address of the helper's other end
	__u8 reserved[2];
};

// Before an IP packet on its way through the helper: the device that it goes to is its source address, so only packets to the same are merged.
struct passage {
	__u8 far[6];
	__u8 local; // 2: a MAC address that is nobody's (IEEE 802)
	__u8 zero;
	__u8 device[4];
	__u16 protocol_be;
};

struct prefix4 {
	__u32 len, address_be;
};

struct prefix6 {
	__u32 len, address_be[4];
};

struct map {
	__u32 type, key_size, value_size, max_entries, flags;
};

// {tunnel id, session id} as the peer sends them -> session
struct map SEC("maps") sessions = {BPF_MAP_TYPE_HASH, 4, sizeof(struct session), 1 << 17, BPF_F_NO_PREALLOC};
// sessions' own devices -> {tunnel id, session id}
struct map SEC("maps") own_devices = {BPF_MAP_TYPE_HASH, 4, 4, 1 << 17, BPF_F_NO_PREALLOC};
// devices of which the other end may be a program's socket on this machine, that takes no super-packets and no unfinished checksums -> nothing
struct map SEC("maps") near_ends = {BPF_MAP_TYPE_HASH, 4, 4, 1 << 16, BPF_F_NO_PREALLOC};
// the same as of `sessions` -> what was carried
struct map SEC("maps") counted = {BPF_MAP_TYPE_PERCPU_HASH, 4, sizeof(struct counters), 1 << 17, BPF_F_NO_PREALLOC};
// a single inner destination -> {tunnel id, session id}: what a trie of thousands takes a dozen steps for is one of a hash
struct map SEC("maps") hosts4 = {BPF_MAP_TYPE_HASH, 4, 4, 1 << 18, BPF_F_NO_PREALLOC};
struct map SEC("maps") hosts6 = {BPF_MAP_TYPE_HASH, 16, 4, 1 << 18, BPF_F_NO_PREALLOC};
// a network of inner destinations -> {tunnel id, session id}
struct map SEC("maps") inside4 = {BPF_MAP_TYPE_LPM_TRIE, sizeof(struct prefix4), 4, 1 << 20, BPF_F_NO_PREALLOC};
struct map SEC("maps") inside6 = {BPF_MAP_TYPE_LPM_TRIE, sizeof(struct prefix6), 4, 1 << 20, BPF_F_NO_PREALLOC};
// why packets of sessions were not carried: how many, by `enum reason`; what is in one piece counts once
struct map SEC("maps") reasons = {BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, REASONS, 0};
struct map SEC("maps") this_host = {BPF_MAP_TYPE_ARRAY, 4, sizeof(struct host), 1, 0};

// The longest prefix wins, and none is longer than a single address.
INLINE __u32 *behind4(__u32 address_be)
{
	struct prefix4 key = {32, address_be};
	__u32 *found = map_lookup(&hosts4, &key.address_be);
	return found ? found : map_lookup(&inside4, &key);
}

INLINE __u32 *behind6(const __u32 *address_be)
{
	struct prefix6 key = {128, {address_be[0], address_be[1], address_be[2], address_be[3]}};
	__u32 *found = map_lookup(&hosts6, key.address_be);
	return found ? found : map_lookup(&inside6, &key);
}

INLINE struct host *host(void)
{
	__u32 zero = 0;
	return map_lookup(&this_host, &zero);
}

// Counts why a packet is not carried, out of the way of those that are.
static __attribute__((noinline)) int because(__u32 reason, int verdict)
{
	__u64 *count = map_lookup(&reasons, &reason);
	if (count)
		*count += 1;
	return verdict;
}

// Leaves a packet to `tun`.
INLINE int pass(__u32 reason)
{
	return because(reason, TC_PASS);
}

// 16-bit words as they lie in memory: a one's complement sum does not depend on the order of octets (RFC 1071).
INLINE __u32 sum_words(const __u8 *octets, int words)
{
	__u32 sum = 0;
#pragma clang loop unroll(full)
	for (int i = 0; i < words; i++)
		sum += *(const __u16 *)(octets + 2 * i);
	return sum;
}

INLINE __u32 sum_half(__u32 word)
{
	return (word & 0xffff) + (word >> 16);
}

INLINE __u16 fold(__u32 sum)
{
	sum = sum_half(sum);
	return sum_half(sum);
}

// An IP packet inside: what of its header matters here.
struct inner {
	__u16 len;         // what its header says
	__u16 head_len;    // its header's
	__u8 ecn;
	__u8 protocol;     // what is in it; 0 if it is a fragment
	__u32 destination_be; // IPv4 only
	__u16 is_ipv6;
};

// Its fixed header: of IPv4 the first half.
struct header {
	__u8 octets[IPV6_LEN];
} __attribute__((aligned(8)));

// Whether two addresses of IPv6 are one.
INLINE int same(const __u8 *address, const __u32 *other_be)
{
	const __u32 *words = (const __u32 *)address;
	return words[0] == other_be[0] && words[1] == other_be[1] && words[2] == other_be[2] && words[3] == other_be[3];
}

enum side { SOURCE, DESTINATION };

// The session that the source or destination of an IP packet is behind.
INLINE __u32 *behind(const struct header *header, enum side side, const struct inner *inner)
{
	if (inner->is_ipv6)
		return behind6((const __u32 *)(header->octets + (side == SOURCE ? 8 : 24)));
	return behind4(*(const __u32 *)(header->octets + (side == SOURCE ? 12 : 16)));
}

// Whether a session's packet is from its peer itself, or from behind that.
INLINE int is_from_there(const struct session *session, __u32 ids, const struct header *header, const struct inner *inner)
{
	if (inner->is_ipv6 ? same(header->octets + 8, session->peer6_be) : *(const __u32 *)(header->octets + 12) == session->peer4_be)
		return 1;
	__u32 *source = behind(header, SOURCE, inner);
	return source && *source == ids;
}

// Reads the IP packet at `at`.
INLINE int read_inner(struct __sk_buff *skb, __u32 at, struct header *header, struct inner *inner)
{
	int whole = !skb_load(skb, at, header, IPV6_LEN);
	if (!whole && skb_load(skb, at, header, IPV4_LEN))
		return 0;
	const __u8 *octets = header->octets;
	if (octets[0] >> 4 == 4) {
		inner->head_len = (octets[0] & 15) * 4;
		if (inner->head_len < IPV4_LEN)
			return 0;
		inner->is_ipv6 = 0;
		inner->destination_be = *(const __u32 *)(octets + 16);
		inner->len = SWAP16(*(const __u16 *)(octets + 2));
		inner->ecn = octets[1] & 3;
		inner->protocol = *(const __u16 *)(octets + 6) & SWAP16(0x3fff) ? 0 : octets[9];
	} else if (octets[0] >> 4 == 6 && whole) {
		__u32 len = IPV6_LEN + SWAP16(*(const __u16 *)(octets + 4));
		if (len > 0xffff)
			return 0;
		inner->head_len = IPV6_LEN;
		inner->is_ipv6 = 1;
		inner->len = len;
		inner->ecn = octets[1] >> 4 & 3;
		inner->protocol = octets[6];
	} else {
		return 0;
	}
	return inner->len >= inner->head_len;
}

// The largest packet that `skb` is on the wire, which has it at `at`: it may be a super-packet. 0: it is not known.
INLINE __u32 largest(struct __sk_buff *skb, __u32 at, const struct inner *inner)
{
	if (!skb->gso_size)
		return inner->len;
	__u32 head;
	if (inner->protocol == PROTO_TCP) {
		__u8 words;
		if (skb_load(skb, at + inner->head_len + 12, &words, 1))
			return 0;
		head = words >> 4 << 2;
	} else if (inner->protocol == PROTO_UDP) {
		head = UDP_LEN;
	} else {
		return 0;
	}
	return inner->head_len + head + skb->gso_size;
}

// Whether the TCP of a packet announces segments (MSS) no larger than `mtu` has room for, and says so first of all, if it announces any. `tun` lowers what is larger.
INLINE int announces_what_fits(struct __sk_buff *skb, __u32 at, __u32 mtu, const struct inner *inner)
{
	__u32 tcp = at + inner->head_len;
	__u8 flags;
	if (skb_load(skb, tcp + 13, &flags, 1))
		return 0;
	if (!(flags & TCP_SYN))
		return 1;
	struct {
		__u8 kind, len;
		__u16 mss_be;
	} option;
	if (skb_load(skb, tcp + TCP_LEN, &option, sizeof(option)) || option.kind != 2 || option.len != 4)
		return 0;
	return SWAP16(option.mss_be) + TCP_LEN + (inner->is_ipv6 ? IPV6_LEN : IPV4_LEN) <= mtu;
}

// How many packets `skb` is on the wire, with `len` octets of IP. What made the super-packet may not have said.
INLINE __u32 packets(struct __sk_buff *skb, __u32 len)
{
	__u32 size = skb->gso_size, count = skb->gso_segs;
	if (!size)
		return 1;
	return count ? count : (len + size - 1) / size;
}

// The sum of the words of the packet inside, of which each segment of a super-packet has the same. 0: it is not known.
//
// It needs none of the payload: what a checksum covers adds up to its complement, so TCP, UDP and ICMP are together what their pseudo-header is short
// of nothing, and the header of IPv4 is nothing. That holds for checksums that hardware has still to fill in (see "local checksum offload" of Linux).
INLINE __u16 sum_inner(struct __sk_buff *skb, __u32 at, __u32 packet, const struct header *header, const struct inner *inner)
{
	const __u8 *octets = header->octets;
	__u32 size = skb->gso_size, head_len = inner->head_len;
	// The last segment is shorter than the others, and so is its sum.
	if (size && (inner->len - (packet - size)) % size)
		return 0;
	if (inner->is_ipv6) {
		if (inner->protocol != PROTO_TCP && inner->protocol != PROTO_UDP && inner->protocol != PROTO_ICMP6)
			return 0;
		// Addresses and length are in the header and in the pseudo-header.
		return fold(sum_words(octets, 2) + *(const __u16 *)(octets + 6) + (__u16)~SWAP16((__u16)inner->protocol));
	}
	if (inner->protocol == PROTO_ICMP)
		return 0xffff;
	if (inner->protocol == PROTO_UDP) {
		__u16 checksum;
		if (skb_load(skb, at + head_len + 6, &checksum, 2) || !checksum)
			return 0;
	} else if (inner->protocol != PROTO_TCP) {
		return 0;
	}
	__u32 pseudo = sum_words(octets + 12, 4) + SWAP16((__u16)inner->protocol) + SWAP16((__u16)(packet - head_len));
	__u16 sum = ~fold(pseudo);
	return sum ? sum : 0xffff;
}

// An IP packet on its way out.
struct outgoing {
	__u32 ids;
	__u32 len;      // octets, of a super-packet all
	__u32 packet;   // octets of the largest packet that it is on the wire
	__u32 link_len; // octets before it
	__u16 sum;      // of its words; 0: there is no UDP checksum
};

// Finds the path of a session's datagrams of `len` octets: what `fib_lookup` answers.
INLINE long find_path(struct __sk_buff *skb, struct bpf_fib_lookup *path, const struct session *session, __u32 len, __u8 tos, const int outer_ipv6)
{
	path->l4_protocol = PROTO_UDP;
	path->sport = session->local_port_be;
	path->dport = session->remote_port_be;
	path->tot_len = len;
	if (outer_ipv6) {
		path->family = FAMILY_IPV6;
		path->flowinfo = SWAP32((__u32)(tos & 0xfc) << 20);
		__builtin_memcpy(path->ipv6_src, session->local_be, 16);
		__builtin_memcpy(path->ipv6_dst, session->remote_be, 16);
	} else {
		path->family = FAMILY_IPV4;
		path->tos = tos & 0xfc;
		path->ipv4_src = session->local_be[0];
		path->ipv4_dst = session->remote_be[0];
	}
	return path->ifindex ? fib_lookup(skb, path, sizeof(*path), 0) : BPF_FIB_LKUP_RET_SUCCESS;
}

// Writes the IP header of a datagram of `len` octets, which has zeros; the sum of its addresses.
INLINE __u32 put_ip(__u8 *ip, const struct session *session, __u16 len, __u8 tos, const int outer_ipv6)
{
	if (outer_ipv6) {
		*(__u32 *)ip = SWAP32(6U << 28 | (__u32)tos << 20);
		*(__u16 *)(ip + 4) = SWAP16((__u16)(len - IPV6_LEN));
		ip[6] = PROTO_UDP;
		ip[7] = 64;
		__builtin_memcpy(ip + 8, session->local_be, 16);
		__builtin_memcpy(ip + 24, session->remote_be, 16);
		return sum_words(ip + 8, 16);
	}
	ip[0] = 0x45;
	ip[1] = tos;
	*(__u16 *)(ip + 2) = SWAP16(len);
	// What is larger than the path is not carried here, so it is never in fragments, and needs no identification (RFC 6864).
	*(__u16 *)(ip + 6) = SWAP16(0x4000);
	ip[8] = 64;
	ip[9] = PROTO_UDP;
	*(__u32 *)(ip + 12) = session->local_be[0];
	*(__u32 *)(ip + 16) = session->remote_be[0];
	*(__u16 *)(ip + 10) = ~fold(sum_words(ip, IPV4_LEN / 2));
	return sum_words(ip + 12, 4);
}

// Sends a packet to the peer of its session.
INLINE int leave(struct __sk_buff *skb, const struct host *here, const struct session *session, const struct inner *inner,
		 const struct outgoing *outgoing, const int outer_ipv6)
{
	const __u32 ip_len = outer_ipv6 ? IPV6_LEN : IPV4_LEN;
	__u32 head_len = session->head_len, len = outgoing->len, packet = outgoing->packet;
	if (head_len > HEAD_MAX || head_len < 7)
		return TC_PASS;
	__u32 around = ip_len + UDP_LEN + head_len;
	if (len + around > 0xffff)
		return pass(TOO_LARGE);
	__u8 tos = session->tos | (session->flags & ECN ? inner->ecn : 0);
	struct bpf_fib_lookup path = {};
	path.ifindex = here->path;
	long found = find_path(skb, &path, session, packet + around, tos, outer_ipv6);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return pass(NO_PATH);
	__u32 uplink = path.ifindex;
	if (here->path && uplink == skb->ifindex)
		return pass(NO_PATH);
	if (session->flags & UNASKED && map_lookup(&near_ends, &uplink))
		return pass(NEAR_END);

	// Whatever is before UDP ends there.
	struct {
		__u8 before[2 + ETH_LEN + IPV6_LEN];
		__u16 sport_be, dport_be, len_be, checksum;
		__u8 head[HEAD_MAX];
		__u8 end[6];
	} __attribute__((aligned(8))) out = {};
	__u8 *ip = out.before + sizeof(out.before) - ip_len, *ethernet = ip - ETH_LEN;
	*(__u16 *)(ethernet + 12) = outer_ipv6 ? ETH_P_IPV6_BE : ETH_P_IPV4_BE;
	__u32 sum = put_ip(ip, session, len + around, tos, outer_ipv6);
	out.sport_be = session->local_port_be;
	out.dport_be = session->remote_port_be;
	out.len_be = SWAP16((__u16)(len + around - ip_len));
	__builtin_memcpy(out.head, session->head, HEAD_MAX);
	if (inner->is_ipv6)
		out.head[(head_len - 1) & 15] = 0x57;
	if (outgoing->sum) {
		__u16 udp_len_be = SWAP16((__u16)(packet + head_len + UDP_LEN));
		sum += SWAP16((__u16)PROTO_UDP) + udp_len_be;
		sum += out.sport_be + out.dport_be + udp_len_be + sum_words(out.head, HEAD_MAX / 2);
		sum += head_len & 1 ? SWAP16(outgoing->sum) : outgoing->sum;
		out.checksum = ~fold(sum);
		if (!out.checksum)
			out.checksum = 0xffff;
	}

	__u32 count = packets(skb, len), ids = outgoing->ids;
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | (__u64)head_len << BPF_ADJ_ROOM_ENCAP_L2_SHIFT |
		      (outer_ipv6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4);
	if (skb_adjust_room(skb, around, BPF_ADJ_ROOM_MAC, flags))
		return pass(NO_ROOM);
	// The way back is closed from here on.
	if ((!outgoing->link_len && skb_change_head(skb, ETH_LEN, 0)) || skb_store(skb, 0, ethernet, ETH_LEN + around, 0))
		return because(UNFINISHED, TC_DROP);
	struct counters *counters = map_lookup(&counted, &ids);
	if (counters) {
		counters->tx_packets += count;
		counters->tx_bytes += len;
	}
	// A packet that waits for its next hop's address is sent by its route then, which is still that of the packet inside.
	if (found == BPF_FIB_LKUP_RET_NO_NEIGH)
		return redirect_neigh(uplink, 0, 0, 0);
	// The next hop of a path of IPv4 may have an address of IPv6 (RFC 8950).
	struct bpf_redir_neigh next = {.nh_family = path.family};
	__builtin_memcpy(next.ipv6_nh, path.ipv6_dst, 16);
	return redirect_neigh(uplink, &next, sizeof(next), 0);
}

SEC("classifier")
int l2tp_encap(struct __sk_buff *skb)
{
	struct host *here = host();
	if (!here)
		return TC_PASS;
	__u32 link_len = here->link_len ? ETH_LEN : 0, len = skb->len - link_len;
	struct inner inner = {};
	struct header header;
	if (!read_inner(skb, link_len, &header, &inner))
		return TC_PASS;
	__u32 from = skb->ifindex;
	__u32 *whose = from == here->shared ? behind(&header, DESTINATION, &inner) : map_lookup(&own_devices, &from);
	if (!whose)
		return TC_PASS;
	__u32 ids = *whose;
	struct session *session = map_lookup(&sessions, &ids);
	if (!session)
		return TC_PASS;
	if (!(session->flags & (inner.is_ipv6 ? HAS_IPV6 : HAS_IPV4)))
		return pass(LAYER_CLOSED);
	if (inner.len != len)
		return pass(NO_PACKET);
	int outer_ipv6 = session->flags & OUTER_IPV6;
	// The tunnel's own datagrams must not go into it.
	if (!outer_ipv6 && !inner.is_ipv6 && inner.destination_be == session->remote_be[0])
		return pass(OF_TUNNEL);
	if (outer_ipv6 && inner.is_ipv6 && same(header.octets + 24, session->remote_be))
		return pass(OF_TUNNEL);
	__u32 packet = largest(skb, link_len, &inner);
	if (!packet || packet > session->mtu)
		return pass(TOO_LARGE);
	if (inner.protocol == PROTO_TCP && !announces_what_fits(skb, link_len, session->mtu, &inner))
		return pass(LARGE_MSS);
	__u16 sum = 0;
	if (session->flags & CHECKSUM) {
		sum = sum_inner(skb, link_len, packet, &header, &inner);
		if (!sum)
			return pass(CHECKSUMS);
	}
	struct outgoing outgoing = {.ids = ids, .len = len, .packet = packet, .sum = sum, .link_len = link_len};
	return outer_ipv6 ? leave(skb, here, session, &inner, &outgoing, 1) : leave(skb, here, session, &inner, &outgoing, 0);
}

// The ECN field with which a packet leaves the tunnel (RFC 6040 section 4.2): -1 if it is not to.
INLINE int merge_ecn(__u8 inner, __u8 outer)
{
	if (outer == 3)
		return inner ? 3 : -1;
	if (outer == 1 && inner == 2)
		return 1;
	return inner;
}

INLINE void set_ecn(__u8 *at, int is_ipv6, __u8 ecn)
{
	if (is_ipv6) {
		at[1] = (at[1] & ~0x30) | ecn << 4;
		return;
	}
	__u16 before = *(__u16 *)at;
	at[1] = (at[1] & ~3) | ecn;
	__u32 sum = (__u16)~*(__u16 *)(at + 10) + (__u16)~before + *(__u16 *)at; // RFC 1624
	*(__u16 *)(at + 10) = ~fold(sum);
}

// Whether a datagram of IPv4 or IPv6 is from a session's peer to its end here.
INLINE int is_of(const __u8 *ip, const __u8 *udp, const struct session *session, const int outer_ipv6)
{
	if (session->local_port_be != *(const __u16 *)(udp + 2) || session->remote_port_be != *(const __u16 *)udp)
		return 0;
	if (outer_ipv6)
		return session->flags & OUTER_IPV6 && same(ip + 8, session->remote_be) && same(ip + 24, session->local_be);
	return !(session->flags & OUTER_IPV6) && session->remote_be[0] == *(const __u32 *)(ip + 12) &&
	       session->local_be[0] == *(const __u32 *)(ip + 16);
}

INLINE int arrive(struct __sk_buff *skb, const int outer_ipv6)
{
	const __u32 outer_len = outer_ipv6 ? IPV6_LEN : IPV4_LEN;
	// A tag says that the packet is another device's, which it comes to next.
	if (skb->vlan_present || skb->pkt_type != PACKET_HOST)
		return TC_PASS;
	__u32 want = ETH_LEN + outer_len + UDP_LEN + 8 + 4 + IPV6_LEN;
	want = skb->len < want ? skb->len : want;
	if (skb->len < ETH_LEN + outer_len + UDP_LEN + 6 + 1 + IPV4_LEN)
		return TC_PASS;
	__u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	if (data + want > end) {
		// Nothing is pulled for what is none of ours.
		if (data + ETH_LEN + 10 <= end && data[ETH_LEN + (outer_ipv6 ? 6 : 9)] != PROTO_UDP)
			return TC_PASS;
		if (skb_pull(skb, want))
			return TC_PASS;
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
	}
	__u8 *ip = data + ETH_LEN, *udp = ip + outer_len, *l2tp = udp + UDP_LEN;
	if (l2tp + 12 > end)
		return TC_PASS;
	__u32 ip_len = SWAP16(*(__u16 *)(ip + (outer_ipv6 ? 4 : 2))), udp_len = SWAP16(*(__u16 *)(udp + 4));
	if (outer_ipv6) {
		ip_len += IPV6_LEN;
		if (ip[0] >> 4 != 6 || ip[6] != PROTO_UDP)
			return TC_PASS;
	} else if (ip[0] != 0x45 || ip[9] != PROTO_UDP || *(__u16 *)(ip + 6) & SWAP16(0x3fff)) {
		return TC_PASS;
	}
	if (ip_len > skb->len - ETH_LEN || udp_len != ip_len - outer_len)
		return TC_PASS;
	__u16 flags = SWAP16(*(__u16 *)l2tp);
	__u32 ids, l2tp_len;
	if (flags == 0x0002 || flags == 0x0102) {
		l2tp_len = 6;
		ids = *(__u16 *)(l2tp + 2) | *(__u16 *)(l2tp + 4) << 16;
	} else if (flags == 0x4002 || flags == 0x4102) {
		l2tp_len = 8;
		ids = *(__u16 *)(l2tp + 4) | *(__u16 *)(l2tp + 6) << 16;
		if (SWAP16(*(__u16 *)(l2tp + 2)) != udp_len - UDP_LEN)
			return TC_PASS;
	} else {
		return TC_PASS;
	}
	struct session *session = map_lookup(&sessions, &ids);
	if (!session)
		return TC_PASS;
	if (!is_of(ip, udp, session, outer_ipv6))
		return pass(WRONG_PEER);
	// Without a checksum it is refused, where that was not asked for (RFC 8200 section 8.1, RFC 6935).
	if (outer_ipv6 && session->flags & CHECKSUM && !*(__u16 *)(udp + 6))
		return pass(CHECKSUMS);
	// Before it comes here, what has one may be merged with others, which is `tun`'s: so all of it is, or some would overtake others.
	if (session->flags & UNASKED && *(__u16 *)(udp + 6))
		return pass(CHECKSUMS);
	if (!outer_ipv6 && fold(sum_words(ip, IPV4_LEN / 2)) != 0xffff)
		return TC_PASS;

	__u8 *ppp = l2tp + l2tp_len;
	__u32 ppp_len = 0;
	if (ppp + 4 > end)
		return pass(NO_PACKET);
	if (ppp[0] == 0xff && ppp[1] == 3) {
		ppp_len = 2;
		ppp += 2;
	}
	if (ppp[0] == 0) {
		ppp_len += 1;
		ppp += 1;
	}
	if (ppp + 1 > end)
		return pass(NO_PACKET);
	__u8 protocol = ppp[0];
	ppp_len += 1;
	ppp += 1;

	struct inner inner = {};
	struct header header;
	__u32 around = outer_len + UDP_LEN + l2tp_len + ppp_len;
	if ((protocol != 0x21 && protocol != 0x57) || !read_inner(skb, ETH_LEN + around, &header, &inner))
		return pass(NO_PACKET);
	if (!(session->flags & OWN_DEVICE) && !is_from_there(session, ids, &header, &inner))
		return pass(SPOOFED);
	if (inner.is_ipv6 != (protocol == 0x57))
		return pass(NO_PACKET);
	if (!(session->flags & (inner.is_ipv6 ? HAS_IPV6 : HAS_IPV4)))
		return pass(LAYER_CLOSED);
	if (inner.len > ip_len - around)
		return pass(NO_PACKET);
	if (inner.protocol == PROTO_TCP && !announces_what_fits(skb, ETH_LEN + around, session->mtu, &inner))
		return pass(LARGE_MSS);
	// Of datagrams that were merged, the first packet inside is shorter than all of them.
	__u32 gso_size = skb->gso_size;
	if (gso_size && (inner.len != ip_len - around || skb->len != ip_len + ETH_LEN || inner.protocol != PROTO_TCP))
		return pass(MERGED);
	int ecn = inner.ecn;
	if (session->flags & ECN)
		ecn = merge_ecn(ecn, (outer_ipv6 ? ip[1] >> 4 : ip[1]) & 3);
	if (ecn < 0)
		return pass(CONGESTION);
	struct host *here = host();
	if (!here)
		return TC_PASS;
	__u16 is_ipv6 = inner.is_ipv6;
	__u32 to = session->device;
	__u32 count = packets(skb, inner.len);
	// Or that lies about its length, and what is behind it is others'. The kernel makes room, be it none, in super-packets of TCP only.
	if (gso_size && skb_adjust_room(skb, 0, BPF_ADJ_ROOM_MAC, 0))
		return pass(MERGED);
	// Before Linux 6.3 there is no way to say that the packet is another protocol's from here on, and such are left to `tun`.
	__u64 how = BPF_F_ADJ_ROOM_FIXED_GSO;
	if (is_ipv6 && !outer_ipv6)
		how |= ADJ_ROOM_DECAP_L3_IPV6;
	if (!is_ipv6 && outer_ipv6)
		how |= ADJ_ROOM_DECAP_L3_IPV4;
	if (skb_adjust_room(skb, -(__s32)around, BPF_ADJ_ROOM_MAC, how))
		return pass(NO_ROOM);
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + ETH_LEN + IPV4_LEN > end)
		return because(UNFINISHED, TC_DROP);
	if (ecn != inner.ecn)
		set_ecn(data + ETH_LEN, is_ipv6, ecn);
	struct counters *counters = map_lookup(&counted, &ids);
	if (counters) {
		counters->rx_packets += count;
		counters->rx_bytes += inner.len;
		if (gso_size)
			counters->supers = 1;
	}
	// One way for all packets of a stream, so that they stay in order.
	if (!here->helper || inner.protocol != PROTO_TCP || !counters || counters->supers)
		return redirect(to, BPF_F_INGRESS);
	struct passage *passage = (void *)data;
	__builtin_memcpy(passage->far, here->far, 6);
	passage->local = 2;
	passage->zero = 0;
	__builtin_memcpy(passage->device, &to, 4);
	passage->protocol_be = is_ipv6 ? ETH_P_IPV6_BE : ETH_P_IPV4_BE;
	return redirect(here->helper, 0);
}

SEC("classifier")
int l2tp_decap(struct __sk_buff *skb)
{
	if (skb->protocol == ETH_P_IPV4_BE)
		return arrive(skb, 0);
	return skb->protocol == ETH_P_IPV6_BE ? arrive(skb, 1) : TC_PASS;
}

SEC("classifier")
int l2tp_merged(struct __sk_buff *skb)
{
	struct passage *passage = (void *)(long)skb->data;
	__u32 to;
	// Nothing else has a way in here.
	if (skb->pkt_type != PACKET_HOST || (void *)(passage + 1) > (void *)(long)skb->data_end)
		return because(STRANGER, TC_DROP);
	__builtin_memcpy(&to, passage->device, 4);
	return redirect(to, BPF_F_INGRESS);
}

// The helpers ask for it.
const char its_license[] SEC("license") = "Dual MIT/GPL";
