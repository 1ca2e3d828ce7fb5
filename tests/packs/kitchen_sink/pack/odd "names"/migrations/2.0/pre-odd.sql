UPDATE "Größe; DROP TABLE x; --" SET "quo""te" = "quo""te" || '$1 {run} %s', "select" = "select" + 1 WHERE "sp ace" > 10;
ALTER TABLE "Größe; DROP TABLE x; --" RENAME COLUMN "a'b" TO "c; -- ";
ALTER TABLE "Größe; DROP TABLE x; --" DROP COLUMN "select";
DELETE FROM "Größe; DROP TABLE x; --" WHERE "sp ace" % 100 = 3;
ALTER TABLE "Größe; DROP TABLE x; --" RENAME TO "even ""worse""";
