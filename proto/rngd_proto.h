/*
 * proto/rngd_proto - every number of the rngd protocol. PROTOCOL.md says what they mean.
 *
 * Version history
 *   1  GET, STATUS; later, still 1: LOOK, PAGE, BUMP, RESEED, then SUBSCRIBE, ACK, SUBSCRIBERS,
 *      CONTRIBUTE (an older daemon answers OPCODE).
 */
#ifndef PROTO_RNGD_PROTO_H
#define PROTO_RNGD_PROTO_H

#define RNGD_PROTO_DEFAULT_SOCKET "/run/rngd/rngd.sock"

/*
 * The control socket and the epoch page: these beside the default socket, else the path of
 * the socket in use with a suffix.
 */
#define RNGD_PROTO_DEFAULT_CONTROL "/run/rngd/control"
#define RNGD_PROTO_DEFAULT_EPOCH   "/run/rngd/epoch"
#define RNGD_PROTO_CONTROL_SUFFIX  ".control"
#define RNGD_PROTO_EPOCH_SUFFIX    ".epoch"

/* Versions this build speaks; a request names the one it is written in. */
#define RNGD_PROTO_VERSION_MIN 1u
#define RNGD_PROTO_VERSION_MAX 1u

/* Sizes in bytes. All integers on the wire are big-endian. */
#define RNGD_PROTO_LENGTH_BYTES       4u  /* the length word; it does not count itself */
#define RNGD_PROTO_REQUEST_HEAD_BYTES 12u /* length, opcode, version, flags, tag */
#define RNGD_PROTO_REPLY_HEAD_BYTES \
	20u /* length, opcode, version, status, flags, tag, generation */

/*
 * Largest request, length word included: room for the operations to come (a bump's
 * entropy, contributed bytes), and small enough that a connection stays cheap.
 */
#define RNGD_PROTO_REQUEST_MAX_BYTES 4096u

/* Largest number of random bytes in one reply frame. Measured: doc/measurements.md. */
#define RNGD_PROTO_FRAME_DATA_BYTES 131072u

/*
 * A GET of up to this many bytes is answered in one frame, in every version; and no frame of a
 * longer one has fewer but its last.
 */
#define RNGD_PROTO_ONE_FRAME_BYTES 4096u

/* Largest body of a STATUS reply and of an error frame. */
#define RNGD_PROTO_STATUS_MAX_BYTES 16384u
#define RNGD_PROTO_ERROR_MAX_BYTES  256u

#define RNGD_PROTO_GET_BODY_BYTES 4u

/* What a host's word must bring to tell siblings apart: a 256-bit seed at least. */
#define RNGD_PROTO_BUMP_MIN_BYTES 32u
#define RNGD_PROTO_BUMP_MAX_BYTES 1024u

/* What one CONTRIBUTE may bring. */
#define RNGD_PROTO_CONTRIBUTE_MAX_BYTES 1024u

/* A subscriber names itself by this many random bytes, to be known again over a new connection. */
#define RNGD_PROTO_SUBSCRIBER_ID_BYTES 16u

/* SUBSCRIBE: u64 generation acknowledged last (0: begin with the present one), id. */
#define RNGD_PROTO_SUBSCRIBE_BODY_BYTES (8u + RNGD_PROTO_SUBSCRIBER_ID_BYTES)

/* An event's frame: u32 notifier, u64 realtime ns, u64 boottime ns, 16 bytes of id. */
#define RNGD_PROTO_EVENT_ID_BYTES   16u
#define RNGD_PROTO_EVENT_BODY_BYTES (4u + 8u + 8u + RNGD_PROTO_EVENT_ID_BYTES)

/* ACK: u64 generation, u8 enum rngd_proto_stage. */
#define RNGD_PROTO_ACK_BODY_BYTES 9u

/* How far a subscriber is with an event. */
enum rngd_proto_stage {
	RNGD_PROTO_STAGE_TAKEN = 1, /* read: the next may come */
	RNGD_PROTO_STAGE_DONE = 2,  /* acted on */
	RNGD_PROTO_STAGE_LEAVE = 3, /* it subscribes no more: nothing is to be waited for */
};

/* Opcodes; a reply repeats the request's. */
enum rngd_proto_opcode {
	RNGD_PROTO_OP_NONE = 0,   /* only in replies: the request could not be read */
	RNGD_PROTO_OP_GET = 1,    /* body: u32 count of bytes, 1 to 2^32 - 1 */
	RNGD_PROTO_OP_STATUS = 2, /* no body */
	RNGD_PROTO_OP_LOOK = 3,   /* no body; every detector is asked before the answer */
	RNGD_PROTO_OP_PAGE = 4,   /* no body; the answer carries a descriptor of the epoch page */
	/* On the control socket only. */
	RNGD_PROTO_OP_BUMP = 5,   /* body: nothing, or bytes that no sibling was given */
	RNGD_PROTO_OP_RESEED = 6, /* no body */
	/* Public; a connection that subscribed is for ACK alone. */
	RNGD_PROTO_OP_SUBSCRIBE = 7,
	RNGD_PROTO_OP_ACK = 8,
	/* On the control socket only: no body; asks every detector, then says who owes an ACK. */
	RNGD_PROTO_OP_SUBSCRIBERS = 9,
	RNGD_PROTO_OP_CONTRIBUTE = 10, /* public; body: bytes for the next seed, never credited */
};

/* Status of a reply frame; anything but OK ends the request. */
enum rngd_proto_status {
	RNGD_PROTO_OK = 0,
	RNGD_PROTO_E_LENGTH = 1,      /* length word out of range; the connection closes */
	RNGD_PROTO_E_OPCODE = 2,      /* opcode unknown to this daemon */
	RNGD_PROTO_E_VERSION = 3,     /* version not spoken; body: u8 lowest, u8 highest */
	RNGD_PROTO_E_BODY = 4,        /* body's size or content wrong for this opcode */
	RNGD_PROTO_E_FLAGS = 5,       /* a flag this daemon does not know */
	RNGD_PROTO_E_UNAVAILABLE = 6, /* no bytes now: the last reseed failed; STATUS says why */
	RNGD_PROTO_E_AGAIN = 7,       /* the state aged again and again while bytes were made */
	RNGD_PROTO_E_PERMISSION = 8,  /* this operation belongs on the control socket */
	RNGD_PROTO_E_NO_PAGE = 9,     /* the daemon publishes no epoch page */
	RNGD_PROTO_E_IDENTICAL =
	    10,                 /* a bump without bytes, and nothing else to tell siblings apart */
	RNGD_PROTO_E_BUSY = 11, /* too many connections; unasked, and the connection closes */
};

/* Reply flags. */
#define RNGD_PROTO_FLAG_MORE 0x01u /* more frames of this request follow */

#endif
