-- upshift: read which modules depend on which, as Odoo records it
SELECT m.name::text AS module, d.name::text AS depends
FROM ir_module_module_dependency AS d
JOIN ir_module_module AS m ON m.id = d.module_id
WHERE m.name IS NOT NULL AND d.name IS NOT NULL
ORDER BY m.name, d.name
