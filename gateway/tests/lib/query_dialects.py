"""The places where the store's SQL and DuckDB's say the same differently, or mean different things by the same words.

This is the only place that knows. What can be a setting or a function of DuckDB's is one, in `SETUP`; what needs other
words is a method, once in each dialect. Where NULLs are sorted differs, too: queries always say it.
"""


class Siltstone:
    """The store's words."""

    def like(self, text, pattern, operator="LIKE"):
        return f"{text} {operator} {pattern}"

    def whole(self, number):
        """A number without its fraction."""
        return f"CAST({number} AS BIGINT)"

    def integer(self, text):
        """The number that a text is; NULL where it is none."""
        return f"TRY_CAST({text} AS BIGINT)"

    def list_objects(self, bucket, prefix, delimiter, start_after, most):
        return f"list_objects({bucket}, {prefix}, {delimiter}, {start_after}, {most})"


class DuckDB:
    """DuckDB's words for it."""

    SETUP = [
        "SET TimeZone = 'UTC'",
        "SET integer_division = true",
        # Functions that it has under other names.
        "CREATE MACRO btrim(text, letters := ' ') AS trim(text, letters)",
        "CREATE MACRO octet_length(text) AS strlen(text)",
        "CREATE MACRO regexp_like(text, pattern) AS regexp_matches(text, pattern)",
        "CREATE MACRO signum(number) AS sign(number)::DOUBLE",
        "CREATE MACRO to_char(moment, form) AS strftime(moment, form)",
        "CREATE MACRO to_timestamp_micros(micros) AS make_timestamp(micros)",
        "CREATE MACRO date_bin(width, moment) AS time_bucket(width, moment::TIMESTAMPTZ, TIMESTAMPTZ '1970-01-01 00:00:00+00')",
        # Its own keeps a letter and the accents that follow together.
        "CREATE MACRO reverse(text) AS array_to_string(list_reverse(regexp_extract_all(text, '(?s).')), '')",
        # Its own counts from the end where a place is below 1.
        """CREATE MACRO substr(text, begin) AS substring(text, greatest(begin, 1)),
           (text, begin, many) AS substring(text, greatest(begin, 1), greatest(many + least(begin - 1, 0), 0))""",
        # Its own makes one letter of one letter.
        "CREATE MACRO upper(text) AS replace(ucase(text), 'ẞ', 'SS')",
        # Functions that only the store has.
        """CREATE MACRO prefix(key, delimiter, depth) AS
           CASE WHEN key IS NULL THEN NULL WHEN least(depth, len(string_split(key, delimiter)) - 1) > 0
           THEN array_to_string(string_split(key, delimiter)[1:least(depth, len(string_split(key, delimiter)) - 1)], delimiter) || delimiter
           ELSE '' END""",
        r"CREATE MACRO extension(key) AS nullif(regexp_extract(split_part(key, '/', -1), '(?s)^.+\.([^.]+)$', 1), '')",
        """CREATE MACRO list_objects(of_bucket, start, delimiter, start_after) AS TABLE
           SELECT name AS key, is_prefix, max(last_modified) AS last_modified, max(size) AS size, max(etag) AS etag FROM (
               SELECT delimiter <> '' AND contains(rest, delimiter) AS is_prefix,
                      CASE WHEN is_prefix THEN start || split_part(rest, delimiter, 1) || delimiter ELSE key END AS name,
                      CASE WHEN NOT is_prefix THEN last_modified END AS last_modified,
                      CASE WHEN NOT is_prefix THEN size END AS size, CASE WHEN NOT is_prefix THEN etag END AS etag
               FROM (SELECT *, substr(key, length(start) + 1) AS rest FROM objects
                     WHERE bucket = of_bucket AND starts_with(key, start) AND key > start_after))
           GROUP BY name, is_prefix""",
    ]

    def like(self, text, pattern, operator="LIKE"):
        # Without being told it knows no escape.
        return f"{text} {operator} {pattern} ESCAPE '\\'"

    def whole(self, number):
        # Its CAST rounds.
        return f"CAST(trunc({number}) AS BIGINT)"

    def integer(self, text):
        # It takes '8e3' for a number, too.
        return f"CASE WHEN regexp_full_match({text}, '[+-]?[0-9]+') THEN TRY_CAST({text} AS BIGINT) END"

    def list_objects(self, bucket, prefix, delimiter, start_after, most):
        return f"(SELECT * FROM list_objects({bucket}, {prefix}, {delimiter}, {start_after}) ORDER BY key LIMIT {most})"
