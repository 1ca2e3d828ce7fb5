-- nothing but what a parent has, and what only the parent has
CREATE TABLE base (id integer PRIMARY KEY, x integer NOT NULL);
CREATE UNLOGGED TABLE "The Table" () INHERITS (base) WITH (fillfactor = 50);
INSERT INTO "The Table" SELECT i, i FROM generate_series(1, 100) i;
CREATE UNIQUE INDEX alone ON "The Table" (id);
