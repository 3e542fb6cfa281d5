// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Reading a roll; see roll.h. Only what is in the signed list is kept in memory: a line that is not is looked at and
// forgotten, however many there are. A line longer than an entry can be is passed over.
#include "src/ledger/roll.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 1 << 17, SERIAL_CAP = 64 };

struct ds_roll_reader {
    ds_roll_options options;
    char *path;
    int fd;
    uint8_t *chunk;
    size_t at, len;
    uint64_t offset, line; // of chunk[at] in the file; of the line read last
    uint64_t line_offset;
    ds_buf joined; // a line that does not lie in one chunk
    ds_hasher *h;
    ds_roll_head head;
    ds_statement_signature signature;
    ds_roll_place place;
    ds_buf pending; // the line of the next block
    uint64_t pending_offset, pending_line;
    ds_buf kept; // the entries of this block
    uint64_t strange, strange_line;
    char strange_serial[SERIAL_CAP];
};

static enum ds_class fill(ds_roll_reader *r, ds_err *e)
{
    ssize_t n;
    do
        n = read(r->fd, r->chunk, CHUNK);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return ds_fail_errno(e, DS_STORE, errno, "%s", r->path);
    r->at = 0;
    r->len = (size_t)n;
    return DS_OK;
}

// A line, without its line feed, borrowed until the next one; *ret_more false at the end. One that is too long comes
// empty.
static enum ds_class next_line(ds_roll_reader *r, ds_view *ret, bool *ret_more, ds_err *e)
{
    bool joining = false, too_long = false;
    ds_buf_clear(&r->joined);
    r->line_offset = r->offset;
    for (;;) {
        if (r->at == r->len && fill(r, e))
            return e ? e->cls : DS_STORE;
        const uint8_t *from = r->chunk + r->at, *end = r->len > r->at ? memchr(from, '\n', r->len - r->at) : NULL;
        size_t n = end ? (size_t)(end - from) : r->len - r->at;
        if (r->len == 0 && !joining) {
            *ret_more = false;
            return DS_OK;
        }
        r->at += n + (end ? 1 : 0);
        r->offset += n + (end ? 1 : 0);
        if (end && !joining) {
            *ret = (ds_view){from, n};
            break;
        }
        too_long = too_long || r->joined.len + n > DS_ROLL_ENTRY_MAX;
        if (!too_long)
            ds_buf_add(&r->joined, from, n);
        joining = true;
        if (end || r->len == 0) {
            *ret = too_long ? (ds_view){NULL, 0} : ds_buf_view(&r->joined);
            break;
        }
    }
    r->line++;
    *ret_more = true;
    return DS_OK;
}

static void tell(const ds_roll_reader *r, ds_roll_fault f)
{
    f.path = r->path;
    if (r->options.fault)
        r->options.fault(r->options.arg, &f);
}

// What the line says its serial number is; "" where it says none.
static void serial_of(ds_view line, char ret[SERIAL_CAP])
{
    json_error_t why;
    json_t *o = line.len <= CHUNK ? json_loadb((const char *)line.ptr, line.len, 0, &why) : NULL;
    const char *serial = json_string_value(json_object_get(o, "serial"));
    size_t len = serial ? strnlen(serial, SERIAL_CAP - 1) : 0;
    if (len)
        memcpy(ret, serial, len);
    ret[len] = '\0';
    json_decref(o);
}

static void strange(ds_roll_reader *r, ds_view line)
{
    if (r->strange++ == 0) {
        r->strange_line = r->line;
        serial_of(line, r->strange_serial);
    }
}

static void tell_strange(ds_roll_reader *r)
{
    ds_roll_fault f = {.kind = DS_ROLL_STRANGE, .line = r->strange_line, .count = r->strange};
    if (!r->strange)
        return;
    memcpy(f.serial, r->strange_serial, sizeof f.serial);
    tell(r, f);
    r->strange = 0;
}

static enum ds_class header_line(ds_roll_reader *r, ds_buf *ret, ds_err *e)
{
    ds_view line = {NULL, 0};
    bool more = false;
    enum ds_class rc = next_line(r, &line, &more, e);
    if (!rc && !more)
        rc = ds_fail(e, DS_INPUT, "it ends before its list begins");
    if (!rc)
        ds_buf_add(ret, line.ptr, line.len);
    return rc;
}

static enum ds_class read_header(ds_roll_reader *r, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf head = {0}, signature = {0}, place = {0};
    enum ds_class rc = header_line(r, &head, e);
    if (!rc)
        rc = ds_roll_head_parse(ds_buf_view(&head), &r->head, e);
    if (!rc)
        rc = header_line(r, &signature, e);
    if (!rc)
        rc = ds_statement_signature_parse(ds_buf_view(&signature), &r->signature, e);
    if (!rc)
        rc = ds_statement_verify(ds_buf_view(&head), &r->signature, &r->options.keys, e);
    if (!rc)
        rc = header_line(r, &place, e);
    if (!rc && ds_roll_place_parse(ds_buf_view(&place), &r->head, &r->place, NULL)) {
        r->place = (ds_roll_place){.part = 0}; // the blocks say where they belong
        tell(r, (ds_roll_fault){.kind = DS_ROLL_PLACE_BAD, .line = 3});
    }
    return rc;
}

enum ds_class ds_roll_open(const char *path, const ds_roll_options *o, ds_roll_reader **ret, ds_err *e)
{
    ds_roll_reader *r = ds_alloc(sizeof *r);
    r->options = *o;
    r->path = ds_strdup(path);
    r->chunk = ds_alloc(CHUNK);
    r->h = ds_hasher_new();
    r->fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    enum ds_class rc = r->fd < 0 ? ds_fail_errno(e, DS_INPUT, errno, "%s", path) : read_header(r, e);
    if (rc && r->fd >= 0)
        rc = ds_wrap(e, "%s", path);
    if (rc)
        ds_roll_close(r);
    else
        *ret = r;
    return rc;
}

void ds_roll_close(ds_roll_reader *r)
{
    if (!r)
        return;
    if (r->fd > STDERR_FILENO)
        close(r->fd);
    ds_hasher_free(r->h);
    ds_buf_free(&r->joined);
    ds_buf_free(&r->pending);
    ds_buf_free(&r->kept);
    free(r->chunk);
    free(r->path);
    free(r);
}

const ds_roll_head *ds_roll_get_head(const ds_roll_reader *r)
{
    return &r->head;
}

const ds_roll_place *ds_roll_get_place(const ds_roll_reader *r)
{
    return &r->place;
}

const ds_statement_signature *ds_roll_get_signature(const ds_roll_reader *r)
{
    return &r->signature;
}

enum ds_class ds_roll_seek(ds_roll_reader *r, uint64_t offset, ds_err *e)
{
    if (offset > INT64_MAX || lseek(r->fd, (off_t)offset, SEEK_SET) < 0)
        return ds_fail_errno(e, DS_INPUT, errno, "%s", r->path);
    r->offset = offset;
    r->at = r->len = 0;
    r->pending.len = 0;
    r->strange = 0;
    return DS_OK;
}

// Lines as they come, each with the entry it is, to be judged together at the block's end.
enum { ITEMS = 3 * DS_ROLL_BLOCK, UNKNOWN = DS_ROLL_BLOCK };
typedef struct item {
    unsigned index; // of the entry in its block; UNKNOWN: none of them
    bool in_order;  // one of the longest row that is
    uint64_t line;
    char serial[SERIAL_CAP]; // of an unknown one: what it says
} item;
typedef struct matching {
    size_t count;
    item item[ITEMS];
    unsigned next; // most likely
    bool disorder;
    bool seen[DS_ROLL_BLOCK], edited[DS_ROLL_BLOCK];
    char serial[DS_ROLL_BLOCK][SERIAL_CAP];
    size_t at[DS_ROLL_BLOCK], len[DS_ROLL_BLOCK]; // in kept
} matching;

static unsigned find(const ds_roll_block *b, unsigned likely, const uint8_t hash[32])
{
    if (likely < b->count && memcmp(b->leaf[likely], hash, 32) == 0)
        return likely;
    for (unsigned i = 0; i < b->count; i++)
        if (memcmp(b->leaf[i], hash, 32) == 0)
            return i;
    return UNKNOWN;
}

static void take_entry(ds_roll_reader *r, const ds_roll_block *b, matching *m, ds_view line)
{
    uint8_t hash[32];
    ds_merkle_leaf(r->h, line, hash);
    unsigned i = find(b, m->next, hash);
    if (i != UNKNOWN && !m->seen[i]) {
        m->seen[i] = true;
        m->at[i] = r->kept.len;
        m->len[i] = line.len;
        ds_buf_add(&r->kept, line.ptr, line.len);
    }
    m->next = i == UNKNOWN ? m->next + 1 : i + 1;
    if (m->count == ITEMS) { // so many that their order does not matter any more
        m->disorder = true;
        strange(r, line);
        return;
    }
    item *one = &m->item[m->count++];
    *one = (item){.index = i, .line = r->line};
    if (i == UNKNOWN)
        serial_of(line, one->serial);
}

// Mark the longest row of lines whose entries go upwards: what is not in it is what was moved or doubled.
static void mark_order(matching *m)
{
    uint16_t best[ITEMS] = {0}, before[ITEMS];
    size_t end = ITEMS;
    for (size_t i = 0; i < m->count; i++) {
        before[i] = ITEMS;
        if (m->item[i].index == UNKNOWN)
            continue;
        best[i] = 1;
        for (size_t k = 0; k < i; k++)
            if (m->item[k].index < m->item[i].index && best[k] >= best[i]) {
                best[i] = (uint16_t)(best[k] + 1);
                before[i] = (uint16_t)k;
            }
        if (end == ITEMS || best[i] > best[end])
            end = i;
    }
    for (; end != ITEMS; end = before[end])
        m->item[end].in_order = true;
}

// A line that is nobody's stands where one is missing, or is one too many.
static void place_unknown(ds_roll_reader *r, const ds_roll_block *b, matching *m, const item *one, unsigned *next)
{
    m->disorder = true;
    if (*next < b->count && !m->seen[*next]) {
        m->edited[*next] = true;
        memcpy(m->serial[(*next)++], one->serial, SERIAL_CAP);
        return;
    }
    if (r->strange++ == 0) {
        r->strange_line = one->line;
        memcpy(r->strange_serial, one->serial, SERIAL_CAP);
    }
}

static bool is_ordered_elsewhere(const matching *m, const item *one)
{
    for (size_t i = 0; i < m->count; i++)
        if (&m->item[i] != one && m->item[i].index == one->index && (m->item[i].in_order || &m->item[i] < one))
            return true;
    return false;
}

static void judge_lines(ds_roll_reader *r, const ds_roll_block *b, matching *m)
{
    unsigned next = 0;
    for (size_t i = 0; i < m->count; i++) {
        const item *one = &m->item[i];
        if (one->index == UNKNOWN) {
            place_unknown(r, b, m, one, &next);
        } else if (one->in_order) {
            next = one->index + 1;
        } else {
            m->disorder = true;
            tell(r, (ds_roll_fault){.kind = is_ordered_elsewhere(m, one) ? DS_ROLL_DOUBLED : DS_ROLL_MOVED,
                                    .line = one->line,
                                    .first = b->index * DS_ROLL_BLOCK + one->index,
                                    .count = 1});
        }
    }
}

// In order, without a gap: as nearly all are.
static bool is_plain(const ds_roll_block *b, const matching *m)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->item[i].index != i)
            return false;
    return m->count == b->count;
}

static void tell_missing(ds_roll_reader *r, const ds_roll_block *b, const matching *m)
{
    uint64_t first = b->index * DS_ROLL_BLOCK;
    for (unsigned i = 0, n; i < b->count; i += n) {
        n = 1;
        if (m->seen[i])
            continue;
        ds_roll_fault f = {.kind = m->edited[i] ? DS_ROLL_EDITED : DS_ROLL_LOST, .first = first + i};
        while (!m->edited[i] && i + n < b->count && !m->seen[i + n] && !m->edited[i + n])
            n++;
        f.count = n;
        memcpy(f.serial, m->serial[i], sizeof f.serial);
        tell(r, f);
    }
}

static void settle(ds_roll_reader *r, ds_roll_block *b, matching *m)
{
    if (!is_plain(b, m)) {
        mark_order(m);
        judge_lines(r, b, m);
        tell_missing(r, b, m);
    }
    b->good = 0;
    for (unsigned i = 0; i < b->count; i++) {
        b->entry[i] = m->seen[i] ? (ds_view){r->kept.ptr + m->at[i], m->len[i]} : (ds_view){NULL, 0};
        b->good += m->seen[i];
    }
    b->clean = b->good == b->count && !m->disorder;
}

static enum ds_class read_entries(ds_roll_reader *r, ds_roll_block *b, ds_err *e)
{
    matching *m = ds_alloc(sizeof *m);
    enum ds_class rc = DS_OK;
    bool more = true;
    ds_view line = {NULL, 0};
    ds_buf_clear(&r->kept);
    while (!(rc = next_line(r, &line, &more, e)) && more) {
        if (ds_roll_is_block_line(line)) {
            ds_buf_add(&r->pending, line.ptr, line.len);
            r->pending_offset = r->line_offset;
            r->pending_line = r->line;
            break;
        }
        take_entry(r, b, m, line);
    }
    if (!rc)
        settle(r, b, m);
    free(m);
    tell_strange(r);
    return rc;
}

// To the line of a block that can be read.
static enum ds_class find_block(ds_roll_reader *r, ds_roll_block *b, bool *ret_more, ds_err *e)
{
    enum ds_class rc = DS_OK;
    ds_view line = {NULL, 0};
    bool more = true;
    for (;;) {
        if (r->pending.len == 0) {
            rc = next_line(r, &line, &more, e);
            if (rc || !more)
                break;
            r->pending_offset = r->line_offset;
            r->pending_line = r->line;
            if (!ds_roll_is_block_line(line)) {
                strange(r, line);
                continue;
            }
            ds_buf_add(&r->pending, line.ptr, line.len);
        }
        bool good = ds_roll_block_parse(ds_buf_view(&r->pending), &r->head, r->h, b);
        ds_buf_clear(&r->pending);
        tell_strange(r);
        if (good)
            break;
        tell(r, (ds_roll_fault){.kind = DS_ROLL_BLOCK_BAD, .line = r->pending_line});
    }
    tell_strange(r);
    b->offset = r->pending_offset;
    *ret_more = more;
    return rc;
}

enum ds_class ds_roll_next(ds_roll_reader *r, ds_roll_block *b, bool *more, ds_err *e)
{
    enum ds_class rc = find_block(r, b, more, e);
    return rc || !*more ? rc : read_entries(r, b, e);
}
