-- upshift: read the modules that committed runs have brought up
SELECT m.name, m.version FROM upshift.module AS m ORDER BY m.name
