-- upshift: read inheritance
SELECT i.inhrelid::bigint AS child, i.inhparent::bigint AS parent
FROM pg_catalog.pg_inherits AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
WHERE c.relkind IN ('r', 'p', 'f')
ORDER BY i.inhrelid, i.inhseqno
