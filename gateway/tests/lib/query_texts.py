"""SQL queries of many kinds, made by chance out of rows that are there.

Most conditions are made to hold for a row that was drawn, so that most answers have rows: what is compared is then
more than two empty answers. The same seed makes the same query, once in each dialect.
"""
import collections
import datetime

from lib.query_dialects import DuckDB, Siltstone

# What is sent; whether the order of the answer's rows is part of the question.
Query = collections.namedtuple("Query", "text is_ordered")


def literal(value):
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case datetime.datetime():
            return f"TIMESTAMP '{value:%Y-%m-%d %H:%M:%S.%f}'"
    return str(value)


def escaped(text):
    """A text as a part of a pattern of LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def entry(column, name):
    return lambda row: dict(row[column] or {}).get(name)


# Expressions over an object or a version, by kind, with what they give for a row.
KNOWN = {
    "text": [
        ("{}.key", lambda row: row["key"]),
        ("{}.bucket", lambda row: row["bucket"]),
        ("{}.etag", lambda row: row["etag"]),
        ("{}.version_id", lambda row: row["version_id"]),
        ("{}.content_type", lambda row: row["content_type"]),
        ("{}.tags['team']", entry("tags", "team")),
        ("{}.tags['it:s']", entry("tags", "it:s")),
        ("{}.metadata['camera']", entry("metadata", "camera")),
        ("{}.headers['cache-control']", entry("headers", "cache-control")),
        ("left({}.etag, 1)", lambda row: row["etag"] and row["etag"][:1]),
    ],
    "number": [
        ("{}.size", lambda row: row["size"]),
        ("length({}.key)", lambda row: len(row["key"])),
        ("octet_length({}.key)", lambda row: len(row["key"].encode())),
        ("{}.size % 7", lambda row: None if row["size"] is None else row["size"] % 7),
        ("coalesce({}.size, -1)", lambda row: -1 if row["size"] is None else row["size"]),
        ("CAST({}.metadata['number'] AS BIGINT)", lambda row: (n := entry("metadata", "number")(row)) and int(n)),
    ],
    "time": [("{}.last_modified", lambda row: row["last_modified"])],
}
KINDS = list(KNOWN)
UNIQUE = ["bucket", "key", "version_id"]


class Maker:
    """Draws from `chance`, from the rows of the tables, and writes in one dialect."""

    def __init__(self, chance, rows, say):
        self.chance, self.rows, self.say = chance, rows, say

    def one(self, *choices):
        return self.chance.choice(choices)

    def some(self, choices, least=1, most=3):
        return self.chance.sample(choices, self.chance.randint(least, min(most, len(choices))))

    def often(self, share=0.5):
        return self.chance.random() < share

    def table(self):
        """A large table, and a row of it."""
        name = self.one("objects", "versions")
        return name, self.row(name)

    def row(self, table):
        return self.chance.choice(self.rows[table])

    # Expressions.

    def known(self, alias, row, *kinds):
        """An expression, its value for a row, and what else it is for others."""
        text, value = self.one(*KNOWN[self.one(*(kinds or KINDS))])
        others = [value(self.row("versions")) for _ in range(4)]
        return text.format(alias), value(row), [other for other in others if other is not None]

    def expression(self, alias, *kinds):
        return self.one(*KNOWN[self.one(*(kinds or KINDS))])[0].format(alias)

    def columns(self, alias, least=1, most=4):
        texts = [text.format(alias) for kind in KINDS for text, _ in KNOWN[kind]]
        return self.named(self.some(texts, least, most))

    def named(self, expressions):
        return ", ".join(f"{text} AS c{number}" for number, text in enumerate(expressions))

    def direction(self):
        return f"{self.one('ASC', 'DESC')} NULLS {self.one('FIRST', 'LAST')}"

    def unique(self, alias):
        """An order that leaves nothing open."""
        return ", ".join(f"{alias}.{column} {self.direction()}" for column in UNIQUE)

    # Conditions.

    def holds(self, alias, row, *kinds):
        """A condition that holds for a row. IS DISTINCT FROM wants parentheses where AND or OR follows."""
        text, value, others = self.known(alias, row, *kinds)
        if value is None:
            return self.one(f"{text} IS NULL", f"({text} IS NOT DISTINCT FROM NULL)", f"coalesce({text} IS NULL, FALSE)", f"NOT ({text} IS NOT NULL)")
        this, any_other = literal(value), self.one(*others, value)
        low, high = sorted([value, any_other])
        choices = [
            f"{text} = {this}", f"{this} = {text}", f"{text} >= {this}", f"{this} >= {text}", f"{text} <= {this}", f"{text} IS NOT NULL",
            f"{text} BETWEEN {literal(low)} AND {literal(high)}", f"{text} >= {literal(low)} AND {text} <= {literal(high)}",
            f"{text} IN ({', '.join(map(literal, self.shuffled([value, *others])))})", f"({text} IS NOT DISTINCT FROM {this})",
        ]
        if low < high:
            choices += [f"{text} {'<' if value == low else '>'} {literal(any_other)}", f"{text} <> {literal(any_other)}",
                        f"{text} NOT IN ({', '.join(literal(other) for other in others if other != value)})"]
        return self.one(*choices)

    def shuffled(self, values):
        return self.chance.sample(values, len(values))

    def matches(self, alias, row):
        """A condition on a text's form that holds for a row."""
        text, value, _ = self.known(alias, row, "text")
        if not value or self.often(0.7):
            text, value = f"{alias}.key", row["key"]
        begin = self.chance.randrange(len(value))
        end = self.chance.randint(begin + 1, min(len(value), begin + 8))
        head, piece, tail = value[:end], value[begin:end], value[begin:]
        holey = "".join("_" if self.often(0.3) else escaped(letter) for letter in value)
        swapped = "".join(c.swapcase() if len(c.swapcase()) == 1 and c.swapcase().swapcase() == c else c for c in piece)
        like = lambda pattern, operator="LIKE": self.say.like(text, literal(pattern), operator)
        return self.one(
            like(escaped(head) + "%"), like(escaped(head) + "%"), like("%" + escaped(tail)), like("%" + escaped(piece) + "%"), like(holey),
            like(escaped(value[:begin]) + "%" + escaped(value[end:])), like(escaped(value)), like(f"%{escaped(swapped)}%", "ILIKE"),
            like("_%"), like("%" + escaped(piece) + "no such%", "NOT LIKE"), f"starts_with({text}, {literal(head)})", f"ends_with({text}, {literal(tail)})",
            f"contains({text}, {literal(piece)})", f"strpos({text}, {literal(piece)}) > 0", f"left({text}, {end}) = {literal(head)}",
            f"substr({text}, {begin + 1}, {end - begin}) = {literal(piece)}", f"{text} >= {literal(head)} AND {text} < {literal(head + chr(0x10ffff))}",
            f"regexp_like({text}, '{self.one('.', '[a-z0-9]|[^a-z0-9]', '^[^/]*(/|$)', '(?s)^.*$')}')")

    def guess(self, alias, table):
        """A condition that holds for another row: for most it is false or NULL."""
        other = self.row(table)
        return self.matches(alias, other) if self.often(0.2) else self.holds(alias, other)

    def where(self, alias, table, row, most=2):
        conditions = [self.holds(alias, row) for _ in range(self.chance.randint(1, most))]
        if self.often(0.3):
            conditions[0] = f"({conditions[0]} OR {self.guess(alias, table)})"
        return " AND ".join(f"({condition})" for condition in conditions)

    # What is grouped by, and what is made of groups.

    def group(self, alias, table):
        choices = ["{}.bucket", "{}.content_type", "{}.tags['team']", "prefix({}.key, '/', 1)", "extension({}.key)", "{}.size % 5", "left({}.etag, 1)",
                   "length({}.key)", "date_trunc('second', {}.last_modified)", "{}.metadata['camera']", "{}.size > 100", "{}.version_id = 'null'"]
        if table == "versions":
            choices += ["{}.is_latest", "{}.is_delete_marker"]
        return self.one(*choices).format(alias)

    def aggregate(self, alias, table):
        # Two aggregates of one query may not want different orders, so the order is always this.
        by = ", ".join(f"{alias}.{column} ASC NULLS LAST" for column in UNIQUE)
        text, number = self.expression(alias, "text"), self.expression(alias, "number")
        return self.one(
            "count(*)", f"count({text})", f"count(DISTINCT {text})", f"count(DISTINCT {number})", f"sum({number})", f"sum(DISTINCT {number})", f"min({number})",
            f"max({number})", f"min({text})", f"max({text})", f"avg({number})", f"max({alias}.last_modified)", f"min({alias}.last_modified)",
            f"count(*) FILTER (WHERE {self.guess(alias, table)})", f"sum({number}) FILTER (WHERE {self.guess(alias, table)})", f"stddev({number})",
            f"var_pop({number})", f"median({number})", f"bool_and({text} IS NULL)", f"bool_or({number} > 20)", f"sum(CASE WHEN {number} > 10 THEN 1 ELSE 0 END)",
            f"string_agg({text}, '|' ORDER BY {by})", f"max(length({text})) - min(length({text}))")


def comparisons(m):
    table, row = m.table()
    conditions = " AND ".join(f"({m.holds('t', row)})" for _ in range(m.chance.randint(1, 3)))
    return Query(f"SELECT {m.columns('t')} FROM {table} t WHERE {conditions}", False)


def patterns(m):
    table, row = m.table()
    conditions = " AND ".join(f"({m.matches('t', row)})" for _ in range(m.chance.randint(1, 2)))
    if m.often(0.3):
        conditions += f" AND t.bucket = {literal(row['bucket'])}"
    return Query(f"SELECT t.bucket, t.key, {m.columns('t')} FROM {table} t WHERE {conditions}", False)


def logic(m):
    """AND, OR and NOT over what is true, false and NULL."""
    table, row = m.table()

    def any_of(depth):
        if depth == 0:
            return m.guess("t", table) if m.often(0.6) else m.holds("t", row)
        inner, other = any_of(depth - 1), any_of(depth - 1)
        return m.one(f"({inner} AND {other})", f"({inner} OR {other})", f"(NOT ({inner}))", f"(({inner}) IS NOT TRUE)", f"(({inner}) IS NULL)",
                     f"(({inner}) IS NOT FALSE)", f"coalesce({inner}, {other})", f"(({inner}) = ({other}))", f"CASE WHEN {inner} THEN {other} END",
                     f"(({inner}) IS DISTINCT FROM ({other}))", f"({inner} OR NULL)", f"(({inner}) <> ({other}))")

    drawn, true = any_of(m.chance.randint(1, 3)), m.holds("t", row)
    condition = m.one(f"({drawn}) OR ({true})", f"({true}) AND ({drawn} OR NOT ({drawn}) OR ({drawn}) IS NULL)", drawn)
    # CASE with IS NOT FALSE and the like in GROUP BY is refused by an internal check of DataFusion's.
    if m.often(0.3) and "CASE" not in drawn:
        return Query(f"SELECT {drawn} AS c0, count(*) AS c1 FROM {table} t GROUP BY 1", False)
    return Query(f"SELECT t.bucket, t.key, t.version_id FROM {table} t WHERE {condition}", False)


def aggregates(m):
    table, row = m.table()
    made = [m.aggregate("t", table) for _ in range(m.chance.randint(1, 3))]
    where = f" WHERE {m.where('t', table, row, 1)}" if m.often(0.4) else ""
    if m.often(0.15):
        return Query(f"SELECT {m.named(made)} FROM {table} t{where}", False)
    groups = list(dict.fromkeys(m.group("t", table) for _ in range(m.chance.randint(1, 2))))
    by = ", ".join(groups)
    if m.often(0.25):
        by = m.one(f"ROLLUP({by})", f"CUBE({by})", f"GROUPING SETS (({by}), ({groups[0]}), ())")
    having = ""
    if m.often(0.4):
        having = " HAVING " + m.one("count(*) > 2", "max(t.size) >= 10", "count(DISTINCT t.key) < 200", "min(t.key) IS NOT NULL", "avg(t.size) > 5", "sum(t.size) IS NOT NULL")
    return Query(f"SELECT {m.named(groups + made)} FROM {table} t{where} GROUP BY {by}{having}", False)


def orders(m):
    table, row = m.table()
    limit = f"LIMIT {m.chance.randint(1, 40)}"
    if m.often(0.4):
        limit += f" OFFSET {m.chance.randint(0, 5)}"
    bucket = f"t.bucket = {literal(row['bucket'])}"
    where = m.one("", f"WHERE {bucket}", f"WHERE {bucket} AND t.key >= {literal(row['key'])}", f"WHERE {m.where('t', table, row, 1)}")
    if m.often(0.3):
        # The order that rows come in, which is not sorted again.
        by = "t.bucket NULLS LAST, t.key NULLS LAST, t.version_id DESC NULLS LAST" if m.often(0.5) else f"t.key {m.direction()}, {m.unique('t')}"
    else:
        by = ", ".join(f"{m.expression('t')} {m.direction()}" for _ in range(m.chance.randint(1, 2))) + ", " + m.unique("t")
    return Query(f"SELECT t.bucket, t.key, {m.columns('t', 1, 2)} FROM {table} t {where} ORDER BY {by} {limit}", True)


def joins(m):
    row = m.row("objects")
    side, kind = m.one("objects", "versions"), m.one("INNER", "LEFT", "RIGHT", "FULL")
    near, older = f"({m.where('o', 'objects', row, 1)})", m.one("a.size < z.size", "a.size IS NULL", "z.is_latest", "a.etag <> z.etag")
    same = "o.bucket = v.bucket AND o.key = v.key" + m.one(
        "", " AND o.version_id = v.version_id", " AND o.version_id <> v.version_id", " AND NOT v.is_latest", " AND o.size > v.size", f" AND {m.guess('v', 'versions')}")
    with_versions = f"SELECT {m.columns('o')}, v.version_id, v.size AS other FROM objects o {kind} JOIN versions v ON {same}"
    return Query(m.one(
        with_versions, f"{with_versions} WHERE {near}", f"{with_versions} WHERE {near} OR o.key IS NULL",
        f"SELECT b.versioning, {m.aggregate('o', side)} AS made, count(*) AS many FROM {side} o {kind} JOIN buckets b ON o.bucket = b.name AND {m.guess('o', side)} GROUP BY b.versioning",
        f"SELECT a.bucket, a.key, a.version_id, z.version_id AS other FROM versions a JOIN versions z USING (bucket, key) WHERE a.version_id < z.version_id AND {older}",
        # USING without RIGHT and FULL: there DataFusion gives the left side's column, NULL, where only the right side has a row.
        f"SELECT bucket, count(*) AS many, max(v.size) AS largest FROM objects o {m.one('INNER', 'LEFT')} JOIN versions v USING (bucket, key) WHERE {near} GROUP BY bucket",
        f"SELECT u.bucket, u.key, b.versioning, o.size FROM uploads u JOIN buckets b ON u.bucket = b.name {m.one('LEFT', 'FULL')} JOIN objects o ON o.bucket = u.bucket AND o.key = u.key",
        f"SELECT b.name, n.value, count(*) AS many FROM buckets b CROSS JOIN (VALUES (1), (10), (100)) n(value) {m.one('LEFT', 'INNER')} JOIN objects o ON o.bucket = b.name "
        "AND o.size > n.value GROUP BY b.name, n.value",
        f"SELECT b.name, o.key, v.version_id FROM buckets b JOIN objects o ON o.bucket = b.name {m.one('LEFT', 'INNER')} JOIN versions v ON v.bucket = b.name AND v.key = o.key "
        f"AND {m.holds('v', row, 'number')} WHERE {near}"), False)


def semijoins(m):
    """EXISTS, IN and scalar subqueries."""
    row = m.row("objects")
    link = "v.bucket = o.bucket AND v.key = o.key"
    guess, near = m.guess("v", "versions"), m.holds("v", row)
    what = m.one(
        f"EXISTS (SELECT 1 FROM versions v WHERE {link} AND NOT v.is_latest)", f"EXISTS (SELECT 1 FROM versions v WHERE {link} AND {near})",
        f"NOT EXISTS (SELECT 1 FROM versions v WHERE {link} AND {guess})", f"NOT EXISTS (SELECT 1 FROM versions v WHERE {link} AND v.size < o.size)",
        "o.bucket IN (SELECT b.name FROM buckets b WHERE b.versioning <> 'Off')", f"o.key IN (SELECT v.key FROM versions v WHERE {near})",
        f"o.key NOT IN (SELECT v.key FROM versions v WHERE {guess})", f"o.content_type NOT IN (SELECT v.content_type FROM versions v WHERE {near})",
        f"o.content_type NOT IN (SELECT v.content_type FROM versions v WHERE v.content_type IS NOT NULL AND {guess})",
        f"o.size > (SELECT avg(v.size) FROM versions v WHERE {m.one(guess, near, 'v.bucket = o.bucket', 'TRUE')})",
        f"o.size >= (SELECT max(v.size) FROM versions v WHERE {link})", f"o.size = ANY (SELECT v.size FROM versions v WHERE {near})",
        "o.key = (SELECT max(v.key) FROM versions v WHERE v.bucket = o.bucket)", f"(SELECT count(*) FROM versions v WHERE {link}) > 1",
        f"EXISTS (SELECT 1 FROM uploads u WHERE u.bucket = o.bucket) AND {m.holds('o', row)}",
        f"(EXISTS (SELECT 1 FROM versions v WHERE {link} AND {guess}) OR {m.holds('o', row)})")
    made = m.one("1", f"(SELECT count(*) FROM versions v WHERE {link})", f"(SELECT sum(v.size) FROM versions v WHERE {link} AND {guess})",
                 "(SELECT max(b.versioning) FROM buckets b WHERE b.name = o.bucket)", "(SELECT count(*) FROM versions)")
    return Query(f"SELECT o.bucket, o.key, {made} AS made FROM objects o WHERE {what}", False)


def sets(m):
    table, row = m.table()
    wanted = m.one(["bucket", "key"], ["content_type"], ["size"], ["etag", "size"], ["bucket", "content_type"], ["length(t.key)"], ["t.tags['team']", "bucket"], UNIQUE)
    columns = m.named(wanted)

    def side():
        name = m.one("objects", "versions")
        return f"SELECT {columns} FROM {name} t WHERE {m.where('t', name, row, 1)}"

    # INTERSECT ALL and EXCEPT ALL are refused.
    link = m.one("UNION", "UNION ALL", "INTERSECT", "EXCEPT")
    first = f"SELECT {columns} FROM {m.one('objects', 'versions')} t" if link != "UNION ALL" and m.often(0.6) else side()
    text = f"{first} {link} {side()}"
    if m.often(0.3):
        text = f"({text}) {m.one('UNION', 'UNION ALL', 'EXCEPT')} ({side()})"
    if m.often(0.3):
        by = ", ".join(f"{number} {m.direction()}" for number in range(1, len(wanted) + 1))
        return Query(f"{text} ORDER BY {by} LIMIT {m.chance.randint(1, 50)}", True)
    return Query(text, False)


def windows(m):
    table, row = m.table()
    text, number = m.expression("t", "text"), m.expression("t", "number")
    part = m.one("", f"PARTITION BY {m.group('t', table)} ", "PARTITION BY t.bucket ")
    whole, by = f"ORDER BY {m.unique('t')}", f"ORDER BY {number} {m.direction()}"
    frame = m.one("", "ROWS BETWEEN 2 PRECEDING AND CURRENT ROW", "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING", "ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING",
                  "ROWS BETWEEN CURRENT ROW AND 2 FOLLOWING", "ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING", "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING")
    made = m.one(
        f"row_number() OVER ({part}{whole})", f"rank() OVER ({part}{by})", f"dense_rank() OVER ({part}{by})", f"percent_rank() OVER ({part}{by})",
        f"cume_dist() OVER ({part}{by})", f"ntile({m.chance.randint(2, 7)}) OVER ({part}{whole})", f"lag({text}) OVER ({part}{whole})",
        f"lead({number}, 2, -5) OVER ({part}{whole})", f"first_value({text}) OVER ({part}{whole} {frame})", f"last_value({number}) OVER ({part}{whole} {frame})",
        f"nth_value({text}, 2) OVER ({part}{whole} {frame})", f"sum({number}) OVER ({part}{whole} {frame})", f"avg({number}) OVER ({part}{whole} {frame})",
        f"min({text}) OVER ({part}{whole} {frame})", f"max({number}) OVER ({part}{whole} {frame})", f"count({text}) OVER ({part}{whole} {frame})",
        f"count(*) OVER ({part})", f"sum({number}) OVER ({part}{by})", f"sum({number}) OVER ({part}{by} RANGE BETWEEN 5 PRECEDING AND 10 FOLLOWING)",
        f"max({text}) OVER ({part}{by})", f"sum({number}) FILTER (WHERE {m.guess('t', table)}) OVER ({part}{whole} ROWS BETWEEN 4 PRECEDING AND CURRENT ROW)")
    text = f"SELECT t.bucket, t.key, t.version_id, {made} AS made FROM {table} t" + (f" WHERE {m.where('t', table, row, 1)}" if m.often(0.3) else "")
    if m.often(0.2):
        return Query(f"SELECT t.bucket, t.key, t.version_id FROM {table} t QUALIFY row_number() OVER ({part}{whole}) <= {m.chance.randint(1, 3)}", False)
    if m.often(0.4):
        return Query(f"SELECT w.made, count(*) AS many FROM ({text}) w GROUP BY w.made", False)
    return Query(f"SELECT * FROM ({text}) w ORDER BY {m.unique('w')} LIMIT 100", True)


def strings(m):
    table, row = m.table()
    other, n = m.row(table), m.chance.randint(-3, 9)
    text, value, _ = m.known("t", row, "text")
    if value is None:
        text, value = "t.key", row["key"]
    begin = m.chance.randrange(max(1, len(value)))
    piece = literal(value[begin:begin + 3] or "/")
    made = [
        f"length({text})", f"octet_length({text})", f"upper({text})", f"lower({text})", f"reverse({text})", f"left({text}, {n})", f"right({text}, {n})",
        f"substr({text}, {n})", f"substr({text}, {n}, {abs(n)})", f"replace({text}, {piece}, '<>')", f"split_part({text}, '/', {n or 1})", f"strpos({text}, {piece})",
        f"{text} || '-' || {m.expression('t', 'text')}", f"concat({text}, {m.expression('t', 'text')}, 'x')", f"concat_ws('/', {text}, {m.expression('t', 'text')}, NULL)",
        f"lpad({text}, {abs(n) * 4}, 'xy')", f"rpad({text}, {abs(n) * 4}, '·')", f"trim({text})", f"btrim({text}, {literal(value[:1] or '/')})", f"ltrim({text}, 'ab/')",
        f"rtrim({text}, '0123456789')", f"translate({text}, 'abc/', 'xyz')", f"md5({text})", f"repeat(left({text}, 3), {abs(n)})", f"starts_with({text}, {literal(other['key'][:1])})",
        f"ascii({text})", f"chr(CAST(length({text}) + 64 AS INTEGER))", f"regexp_replace({text}, '[0-9]+', 'N', 'g')", f"overlay({text} PLACING '--' FROM 2 FOR 1)",
        f"extension({text})", f"prefix({text}, '/', {n})", f"nullif({text}, {literal(value)})", f"greatest({text}, {literal(other['key'])})", f"{text} < {literal(other['key'])}",
    ]
    return Query(f"SELECT t.key, {m.named(m.some(made, 2, 5))} FROM {table} t WHERE {m.one(m.holds('t', row), m.matches('t', row), 'TRUE')}", False)


def times(m):
    table, row = m.table()
    # What was written lies within seconds; other times are made of sizes and lengths. They are not made with
    # to_timestamp_seconds, since what DataFusion adds to its result loses fractions, and end before 2262, since its
    # date_bin gives NULL for what nanoseconds cannot count.
    at = m.one("t.last_modified", "t.last_modified", f"to_timestamp_micros(t.size % 5000 * {m.chance.randint(1, 1_800_000)} * 1000000)", "to_timestamp_micros(length(t.key) * 2678400000000)",
               "(SELECT max(b.created) FROM buckets b)")
    unit = m.one("microsecond", "millisecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year")
    field = m.one("year", "quarter", "month", "week", "day", "doy", "dow", "isodow", "hour", "minute", "second", "millisecond", "microsecond", "epoch")
    interval = m.one("1 month", "37 days", "1 year", "90 minutes", "1 day 2 hours", "13 months", "1500 milliseconds", "2 weeks")
    made = [
        f"date_trunc('{unit}', {at})", f"extract({field} FROM {at})", f"date_part('{field}', {at})", f"{at} + INTERVAL '{interval}'", f"{at} - INTERVAL '{interval}'",
        f"date_bin(INTERVAL '{m.one('15 minutes', '1 second', '7 days', '100 milliseconds')}', {at})", f"to_char({at}, '%Y-%m-%d %H:%M:%S')", f"CAST({at} AS DATE)",
        f"extract({field} FROM {at} + INTERVAL '{interval}')", f"date_trunc('{unit}', {at} - INTERVAL '{interval}')", f"{at} > {literal(m.row(table)['last_modified'])}",
        f"CASE WHEN {at} >= {literal(row['last_modified'])} - INTERVAL '{interval}' THEN 'late' ELSE 'early' END", f"coalesce({at}, {literal(row['last_modified'])})",
    ]
    now = literal(row["last_modified"])
    where = m.one("TRUE", f"t.last_modified >= {now}", f"t.last_modified BETWEEN {now} - INTERVAL '1 second' AND {now} + INTERVAL '2 seconds'", f"t.last_modified = {now}",
                  f"date_trunc('second', t.last_modified) = date_trunc('second', {now})", f"t.last_modified < {now} + INTERVAL '{interval}'",
                  f"t.last_modified >= '{row['last_modified']:%Y-%m-%dT%H:%M:%S.%f}Z'", f"extract(microsecond FROM t.last_modified) % 2 = {row['last_modified'].microsecond % 2}")
    if m.often(0.4):
        group = m.one(*made)
        return Query(f"SELECT {group} AS c0, count(*) AS c1, min(t.key) AS c2, max(t.last_modified) AS c3 FROM {table} t WHERE {where} GROUP BY 1", False)
    return Query(f"SELECT t.bucket, t.key, {m.named(m.some(made, 1, 4))} FROM {table} t WHERE {where}", False)


def numbers(m):
    """Arithmetic, CASE, CAST and COALESCE.

    NULLIF is given absolute values: to DataFusion's the float -0 is not 0, though the two are equal. What is multiplied
    stays small, since its whole numbers overflow without a word.
    """
    table, row = m.table()

    def drawn(depth):
        if depth == 0:
            return m.one(m.expression("t", "number"), str(m.chance.randint(-20, 1000)), m.one("1.5e0", "0.25e0", "-2.5e0"))
        a, b = drawn(depth - 1), drawn(depth - 1)
        return m.one(f"({a} + {b})", f"({a} - {b})", f"({a} * ({m.say.whole(b)} % 100))", f"({a} / nullif(abs({b}), 0))", f"({m.say.whole(a)} % nullif({m.say.whole(b)}, 0))", f"abs({a})",
                     f"-({a})", f"CASE WHEN {a} > {b} THEN {a} ELSE {b} END", f"CASE WHEN {m.guess('t', table)} THEN {a} ELSE {b} END", f"coalesce({a}, {b})", f"nullif(abs({a}), abs({b}))",
                     f"greatest({a}, {b})", f"least({a}, {b})", f"floor({a})", f"ceil({a})", f"round(CAST({a} AS DOUBLE))", f"CAST({a} AS DOUBLE)", m.say.whole(a), f"sqrt(abs({a}))", f"signum({a})",
                     f"CAST(CAST({m.say.whole(a)} AS VARCHAR) AS BIGINT)", f"power(2, {m.say.whole(a)} % 10)", f"ln(abs({a}) + 1)", m.say.integer(m.expression('t', 'text')),
                     f"CASE {m.expression('t', 'text')} WHEN {literal(row['key'])} THEN {a} WHEN {literal(row['bucket'])} THEN {b} END", f"length(CAST({m.say.whole(a)} AS VARCHAR))")

    made = [drawn(m.chance.randint(1, 3)) for _ in range(m.chance.randint(1, 3))]
    if m.often(0.3):
        return Query(f"SELECT {m.group('t', table)} AS g, sum({made[0]}) AS c0, max({made[-1]}) AS c1 FROM {table} t GROUP BY 1", False)
    return Query(f"SELECT t.key, {m.named(made)} FROM {table} t WHERE {m.holds('t', row)}", False)


def maps(m):
    table, row = m.table()
    column = m.one("tags", "tags", "metadata", "headers")
    name = m.one(*(dict(row[column] or {}) or ["team"]), "team", "camera", "it:s", "no such", "é", "")
    value = f"t.{column}[{literal(name)}]"
    made = [value, f"cardinality(t.{column})", f"map_keys(t.{column})", f"map_values(t.{column})", f"t.{column}", f"coalesce({value}, '-')", f"{value} IS NULL", f"length({value})",
            f"{value} || t.key", "t.tags['team'] = t.metadata['camera']", "upper(t.tags['team'])", f"{value} IN ('red', 'blue')"]
    known = entry(column, name)(row)
    where = m.one("TRUE", f"{value} IS NULL" if known is None else f"{value} = {literal(known)}", f"({value} <> 'red') IS NOT FALSE", m.holds("t", row),
                  f"t.{column} IS NOT NULL" if row[column] is not None else f"t.{column} IS NULL")
    if m.often(0.3):
        return Query(f"SELECT {value} AS c0, count(*) AS c1, count({value}) AS c2, max(t.size) AS c3 FROM {table} t WHERE {where} GROUP BY 1", False)
    if m.often(0.2):
        return Query(f"SELECT u.name, count(*) AS many FROM (SELECT unnest(map_keys(t.{column})) AS name FROM {table} t WHERE {where}) u GROUP BY u.name", False)
    return Query(f"SELECT t.bucket, t.key, {m.named(m.some(made, 1, 4))} FROM {table} t WHERE {where}", False)


def nested(m):
    """Subqueries in FROM, and WITH."""
    table, row = m.table()
    group, made, near = m.group("t", table), m.aggregate("t", table), m.where("t", table, row, 1)
    by = f"SELECT {group} AS g, {made} AS made, count(*) AS many FROM {table} t GROUP BY 1"
    few = m.chance.randint(1, 20)
    return Query(m.one(
        f"WITH a AS ({by}) SELECT * FROM a WHERE a.many >= (SELECT min(many) FROM a)",
        f"WITH a AS ({by}), z AS (SELECT max(many) AS most FROM a) SELECT a.g, a.many, z.most FROM a CROSS JOIN z WHERE a.many <= z.most",
        f"SELECT q.g, sum(q.many) AS c1, count(*) AS c2 FROM (SELECT {group} AS g, t.bucket AS b, count(*) AS many FROM {table} t GROUP BY 1, 2) q GROUP BY q.g",
        f"SELECT * FROM (SELECT t.bucket, t.key, t.size FROM {table} t WHERE {near}) q WHERE q.size IS NULL OR q.size >= 0",
        f"SELECT q.bucket, q.key, q.n FROM (SELECT t.bucket, t.key, row_number() OVER (PARTITION BY t.bucket ORDER BY {m.unique('t')}) AS n FROM {table} t) q WHERE q.n <= {few}",
        f"WITH a AS (SELECT * FROM {table} t WHERE {near}), b AS (SELECT bucket, count(*) AS many FROM a GROUP BY bucket) "
        "SELECT a.bucket, a.key, b.many FROM a JOIN b ON a.bucket = b.bucket",
        f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {few}) "
        f"SELECT n.i, count(t.key) AS many FROM n LEFT JOIN {table} t ON length(t.key) = n.i GROUP BY n.i",
        f"SELECT b.name, x.many FROM buckets b CROSS JOIN LATERAL (SELECT count(*) AS many FROM {table} t WHERE t.bucket = b.name AND {m.guess('t', table)}) x",
        f"SELECT q.bucket, q.key FROM (SELECT t.bucket, t.key, t.version_id FROM {table} t WHERE {near} ORDER BY {m.unique('t')} LIMIT {few}) q WHERE q.key IS NOT NULL",
        f"SELECT (SELECT count(*) FROM {table} t WHERE {near}) AS c0, (SELECT max(name) FROM buckets) AS c1"), False)


def distinct(m):
    table, row = m.table()
    groups = list(dict.fromkeys(m.group("t", table) for _ in range(m.chance.randint(1, 3))))
    where = f"WHERE {m.where('t', table, row, 1)}" if m.often(0.4) else ""
    # DISTINCT ON with an expression twice in ORDER BY makes DataFusion panic.
    if m.often(0.25) and (by := groups[0]) != "t.bucket":
        return Query(f"SELECT DISTINCT ON ({by}) {by} AS g, t.bucket, t.key, t.version_id FROM {table} t {where} ORDER BY {by} {m.direction()}, {m.unique('t')}", True)
    if m.often(0.25):
        counts = [f"count(DISTINCT {m.expression('t')})" for _ in range(2)]
        return Query(f"SELECT {m.named(groups[:1] + counts)} FROM {table} t {where} GROUP BY 1", False)
    if m.often(0.3):
        by = ", ".join(f"{number} {m.direction()}" for number in range(1, len(groups) + 1))
        return Query(f"SELECT DISTINCT {m.named(groups)} FROM {table} t {where} ORDER BY {by} LIMIT 20", True)
    return Query(f"SELECT DISTINCT {m.named(groups)} FROM {table} t {where}", False)


def listings(m):
    """The store's own functions."""
    row = m.row("objects")
    key = row["key"]
    start, delimiter = key[:m.one(0, 0, 1, 2, 5)], m.one("/", "/", "/", "", "a", "//", "é")
    after = m.one("", "", "", key[:3], m.row("objects")["key"])
    if after >= key:
        after = ""
    source = m.say.list_objects(literal(row["bucket"]), literal(start), literal(delimiter), literal(after), m.one(1000000, 1000000, 1, 7, 50))
    if m.often(0.3):
        return Query(f"SELECT * FROM {source} l ORDER BY l.key NULLS LAST", True)
    return Query(m.one(
        f"SELECT l.is_prefix, count(*) AS many, sum(l.size) AS bytes FROM {source} l GROUP BY l.is_prefix",
        f"SELECT l.key, o.content_type FROM {source} l LEFT JOIN objects o ON o.key = l.key AND o.bucket = {literal(row['bucket'])}",
        f"SELECT l.key FROM {source} l WHERE l.is_prefix = {literal(m.often())} OR l.size > 3",
        f"SELECT prefix(t.key, {literal(delimiter or '/')}, {m.chance.randint(-1, 4)}) AS folder, extension(t.key) AS kind, count(*) AS many FROM objects t GROUP BY 1, 2"), False)


CLASSES = [comparisons, patterns, logic, aggregates, orders, joins, semijoins, sets, windows, strings, times, numbers, maps, nested, distinct, listings]


def make(of, chance, rows):
    """A query of a class: the store's text, DuckDB's, and whether the order of rows is part of the question."""
    state = chance.getstate()
    asked = of(Maker(chance, rows, Siltstone()))
    chance.setstate(state)
    return asked.text, of(Maker(chance, rows, DuckDB())).text, asked.is_ordered
