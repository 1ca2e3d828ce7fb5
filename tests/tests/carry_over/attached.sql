-- a partition of a partition that was attached: other order of columns, one dropped, its own index names
CREATE TABLE top (id integer NOT NULL, at date NOT NULL, x integer, CHECK (x < 5000)) PARTITION BY RANGE (at);
CREATE INDEX ON top (x);
CREATE TABLE middle PARTITION OF top FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY HASH (id);
CREATE TABLE "The Table" (gone text, x integer, at date NOT NULL DEFAULT '2024-02-02', id integer NOT NULL,
                          CONSTRAINT mine CHECK (x < 5000), CONSTRAINT alone CHECK (x > -5));
ALTER TABLE "The Table" DROP COLUMN gone;
CREATE INDEX "an index" ON "The Table" (x) WITH (fillfactor = 60);
ALTER TABLE "The Table" ADD CONSTRAINT top_x_check CHECK (x < 5000);
ALTER TABLE middle ATTACH PARTITION "The Table" FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE rest PARTITION OF middle FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO top SELECT i, DATE '2024-01-01' + i % 300, i FROM generate_series(1, 300) i;
CREATE UNIQUE INDEX alone ON "The Table" (id);
