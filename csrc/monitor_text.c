/* Times and JSON strings, as the log's formats want them. */
#include "monitor.h"

static char *digits(char *out, uint32_t value, int count)
{
	for (int i = count - 1; i >= 0; i--, value /= 10)
		out[i] = (char)('0' + value % 10);
	return out + count;
}

/* Days since 1970 as a date of the Gregorian calendar, by counting years from March on. */
static char *date(char *out, int64_t days)
{
	int64_t shifted = days + 719468;
	uint32_t era = (uint32_t)(shifted / 146097), day = (uint32_t)(shifted % 146097);
	uint32_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	uint32_t of_year = day - (365 * year + year / 4 - year / 100);
	uint32_t month = (5 * of_year + 2) / 153;

	out = digits(out, year + era * 400 + (month >= 10), 4);
	*out++ = '-';
	out = digits(out, month < 10 ? month + 3 : month - 9, 2);
	*out++ = '-';
	return digits(out, of_year - (153 * month + 2) / 5 + 1, 2);
}

void capsule_text_stamp(char *out)
{
	struct rt_timespec now = { 0 };
	uint32_t second;

	rt2(__NR_clock_gettime, 0, &now);
	second = (uint32_t)(now.tv_sec % 86400);
	out = date(out, now.tv_sec / 86400);
	*out++ = 'T';
	out = digits(out, second / 3600, 2);
	*out++ = ':';
	out = digits(out, second / 60 % 60, 2);
	*out++ = ':';
	out = digits(out, second % 60, 2);
	*out++ = '.';
	out = digits(out, (uint32_t)now.tv_nsec, 9);
	*out = 'Z';
}

int capsule_text_utf8(const char *data, size_t size)
{
	const unsigned char *at = (const unsigned char *)data;
	int length = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
	unsigned char least = 0x80, most = 0xbf;

	if (length == 1)
		return 1;
	if (at[0] < 0xc2 || at[0] > 0xf4)
		return 0;
	/* Overlong forms, surrogates, and what lies beyond U+10FFFF (RFC 3629 section 4). */
	if (at[0] == 0xe0)
		least = 0xa0;
	else if (at[0] == 0xf0)
		least = 0x90;
	else if (at[0] == 0xed)
		most = 0x9f;
	else if (at[0] == 0xf4)
		most = 0x8f;
	for (int i = 1; i < length; i++, least = 0x80, most = 0xbf) {
		if ((size_t)i == size)
			return -1;
		if (at[i] < least || at[i] > most)
			return 0;
	}
	return length;
}

static char *escape(char *out, uint32_t value)
{
	static const char hex[] = "0123456789abcdef";

	*out++ = '\\';
	*out++ = 'u';
	for (int shift = 12; shift >= 0; shift -= 4)
		*out++ = hex[value >> shift & 15];
	return out;
}

size_t capsule_text_json(char *out, const char *data, size_t size)
{
	char *const begin = out;

	for (size_t at = 0; at < size;) {
		int length = capsule_text_utf8(data + at, size - at);
		unsigned char first = (unsigned char)data[at];

		if (length < 1) {
			out = escape(out, 0xfffd);
			at++;
			continue;
		}
		if (first == '"' || first == '\\') {
			*out++ = '\\';
			*out++ = (char)first;
		} else if (first < ' ' || first == 0x7f) {
			out = escape(out, first);
		} else {
			memcpy(out, data + at, (size_t)length);
			out += length;
		}
		at += (size_t)length;
	}
	return (size_t)(out - begin);
}
