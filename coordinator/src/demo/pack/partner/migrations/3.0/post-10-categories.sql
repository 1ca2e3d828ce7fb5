-- upshift: label = "archived partners leave their categories"
DELETE FROM res_partner_category_rel AS r USING res_partner AS p WHERE p.id = r.partner_id AND p.active IS NOT TRUE;
ALTER TABLE res_partner_category_rel RENAME TO res_partner_res_partner_category_rel;
