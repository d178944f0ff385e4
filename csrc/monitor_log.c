/*
 * The log of a container: k8s-file ("TIME stdout F line", P for a line that is not whole) or
 * json-file. Records are written whole or not at all: what the disk does not take is cut off again
 * and counted, the container goes on, and the first record that fits says how much is missing.
 */
#include "monitor.h"

#define PIECE_MAX 4096
#define HEAD_MAX 64
#define RECORD_MAX (PIECE_MAX * 6 + HEAD_MAX + 64)
#define BATCH_MAX (RECORD_MAX + 8192)
#define PATH_LENGTH_MAX 512
#define SEEK_END_FLAG 2

static const char *const names[] = { "stdout", "stderr" };

static struct {
	uint32_t kind; /* enum relay_log_kind */
	uint32_t files;
	uint64_t size_max; /* 0: none */
	int dir_fd;
	int fd;
	const char *name;
	uint64_t size;
	uint64_t lost; /* bytes of output since the last record that was written */
	int error;
	size_t used, payload; /* of the batch */
	char batch[BATCH_MAX];
} book;

static void open_file(int flags)
{
	long size;

	book.fd = (int)rt4(__NR_openat, book.dir_fd, book.name,
			   O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
	size = book.fd < 0 ? 0 : rt3(__NR_lseek, book.fd, 0, SEEK_END_FLAG);
	book.size = size > 0 ? (uint64_t)size : 0;
}

/* A record that a crash of the machine cut short must not take the next one with it. */
static void mend_end(void)
{
	char last;

	if (book.size && rt4(__NR_pread64, book.fd, &last, 1, book.size - 1) == 1 && last != '\n' &&
	    rt3(__NR_write, book.fd, "\n", 1) == 1)
		book.size++;
}

void capsule_log_open(const struct relay_plan *plan)
{
	book.kind = plan->monitor.log_kind;
	book.files = plan->monitor.log_files;
	book.size_max = plan->monitor.log_size;
	book.dir_fd = plan->monitor.log_dir_fd;
	book.name = plan->log_name;
	book.fd = -1;
	if (book.kind == RELAY_LOG_NONE || strlen(book.name) + 16 > PATH_LENGTH_MAX) {
		book.kind = RELAY_LOG_NONE;
		return;
	}
	open_file(0);
	mend_end();
}

/* "ctr.log.3"; number 0 is the present file. */
static void numbered(char *out, uint32_t number)
{
	char digits[11];
	size_t at = sizeof(digits) - 1, len = strlen(book.name);

	memcpy(out, book.name, len + 1);
	if (!number)
		return;
	digits[at] = 0;
	for (; number; number /= 10)
		digits[--at] = (char)('0' + number % 10);
	out[len] = '.';
	memcpy(out + len + 1, digits + at, sizeof(digits) - at);
}

/* The oldest file goes, each other takes the next number, and a new one begins. */
static void rotate(void)
{
	char from[PATH_LENGTH_MAX], to[PATH_LENGTH_MAX];

	for (uint32_t number = book.files - 1; number; number--) {
		numbered(from, number - 1);
		numbered(to, number);
		rt5(__NR_renameat2, book.dir_fd, from, book.dir_fd, to, 0);
	}
	if (book.files == 1)
		rt3(__NR_unlinkat, book.dir_fd, book.name, 0);
	rt_close(book.fd);
	open_file(0);
}

static bool write_batch(const char *data, size_t size)
{
	size_t done = 0;

	if (book.fd < 0)
		open_file(0);
	while (book.fd >= 0 && done < size) {
		long count = rt3(__NR_write, book.fd, data + done, size - done);

		if (count == -EINTR)
			continue;
		if (count <= 0) {
			book.error = (int)-count;
			rt2(__NR_ftruncate, book.fd, book.size);
			return false;
		}
		done += (size_t)count;
	}
	book.size += done;
	return done == size;
}

static void flush(void)
{
	if (book.used && !write_batch(book.batch, book.used))
		book.lost += book.payload;
	book.used = book.payload = 0;
}

static size_t copy(char *out, const char *text)
{
	size_t len = strlen(text);

	memcpy(out, text, len);
	return len;
}

/* Returns the size of a record, which `out` has RECORD_MAX bytes for. */
static size_t format(char *out, const char *stamp, enum monitor_stream stream, const char *data,
		     size_t size, bool whole)
{
	size_t at = 0;

	if (book.kind == RELAY_LOG_JSON) {
		at += copy(out, "{\"log\":\"");
		at += capsule_text_json(out + at, data, size);
		at += copy(out + at, whole ? "\\n\",\"stream\":\"" : "\",\"stream\":\"");
		at += copy(out + at, names[stream]);
		at += copy(out + at, "\",\"time\":\"");
		memcpy(out + at, stamp, MONITOR_STAMP);
		return at + MONITOR_STAMP + copy(out + at + MONITOR_STAMP, "\"}\n");
	}
	memcpy(out, stamp, MONITOR_STAMP);
	at = MONITOR_STAMP;
	at += copy(out + at, " ");
	at += copy(out + at, names[stream]);
	at += copy(out + at, whole ? " F " : " P ");
	memcpy(out + at, data, size);
	at += size;
	out[at++] = '\n';
	return at;
}

static void add(const char *stamp, enum monitor_stream stream, const char *data, size_t size,
		bool whole)
{
	size_t length;

	if (book.used + RECORD_MAX > sizeof(book.batch))
		flush();
	length = format(book.batch + book.used, stamp, stream, data, size, whole);
	if (book.size_max && book.size + book.used &&
	    book.size + book.used + length > book.size_max) {
		size_t before = book.used;

		flush();
		rotate();
		memmove(book.batch, book.batch + before, length);
	}
	book.used += length;
	book.payload += size + whole;
}

/* Before the first record since some were lost: how many bytes. Returns false while nothing can be written. */
static bool tell_loss(const char *stamp)
{
	char text[160], digits[21];
	size_t size = 0, at = sizeof(digits) - 1;
	uint64_t value = book.lost;

	digits[at] = 0;
	do
		digits[--at] = (char)('0' + value % 10);
	while (value /= 10);
	size += copy(text, "capsule: ");
	size += copy(text + size, digits + at);
	size += copy(text + size, " bytes of output are missing here: ");
	size += copy(text + size, book.error == ENOSPC ? "no space was left on the device"
						       : "the log could not be written");
	add(stamp, MONITOR_STDERR, text, size, true);
	if (!write_batch(book.batch, book.used)) {
		book.used = book.payload = 0;
		return false;
	}
	book.lost = book.used = book.payload = 0;
	return true;
}

/* The piece that the next record holds: to the end of the line, of the data, or PIECE_MAX bytes. */
static size_t piece(const char *data, size_t size, bool *whole)
{
	size_t most = size < PIECE_MAX ? size : PIECE_MAX, at = 0;

	while (at < most && data[at] != '\n')
		at++;
	*whole = at < size && data[at] == '\n';
	if (*whole || at == size)
		return at;
	/* Not between the bytes of a character, if it is one. */
	for (size_t back = 0; back < 4 && back < at; back++)
		if (((unsigned char)data[at - back] & 0xc0) != 0x80)
			return at - back;
	return at;
}

/* How many bytes at the end of data begin a character that is not whole. */
static size_t unfinished(const char *data, size_t size)
{
	for (size_t back = 1; back <= 3 && back <= size; back++) {
		unsigned char byte = (unsigned char)data[size - back];

		if ((byte & 0xc0) == 0x80)
			continue;
		return byte >= 0xc0 && capsule_text_utf8(data + size - back, back) < 0 ? back : 0;
	}
	return 0;
}

size_t capsule_log_write(enum monitor_stream stream, const char *data, size_t size, bool last)
{
	size_t kept = last || book.kind != RELAY_LOG_JSON ? 0 : unfinished(data, size);
	char stamp[MONITOR_STAMP];

	if (book.kind == RELAY_LOG_NONE || size == kept)
		return kept;
	size -= kept;
	capsule_text_stamp(stamp);
	if (book.lost && !tell_loss(stamp)) {
		book.lost += size;
		return kept;
	}
	while (size) {
		bool whole;
		size_t length = piece(data, size, &whole);

		add(stamp, stream, data, length, whole);
		data += length + whole;
		size -= length + whole;
	}
	flush();
	return kept;
}
