-- upshift: read installed modules, as Odoo records them
SELECT m.name::text AS name, m.latest_version::text AS version
FROM ir_module_module AS m
WHERE m.state IN ('installed', 'to upgrade', 'to remove')
ORDER BY m.name
