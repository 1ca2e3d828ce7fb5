-- Views of type "tree" are called "list" from here on.
UPDATE ir_ui_view SET type = 'list' WHERE type = 'tree';

-- upshift: label = "tree becomes list in the views' XML"
UPDATE ir_ui_view
   SET arch_db = (SELECT jsonb_object_agg(t.key, replace(replace(t.value, '<tree', '<list'), '</tree>', '</list>'))
                    FROM jsonb_each_text(arch_db) AS t)
 WHERE arch_db IS NOT NULL AND arch_db::text LIKE '%<tree%';

UPDATE ir_act_window
   SET view_mode = regexp_replace(view_mode, '\mtree\M', 'list', 'g')
 WHERE view_mode ~ '\mtree\M';

UPDATE ir_act_window_view SET view_mode = 'list' WHERE view_mode = 'tree';

-- Column of a field that went away; kept under the name that such columns get.
ALTER TABLE res_partner RENAME COLUMN "date" TO openupgrade_legacy_18_0_date;

ALTER TABLE res_country_state ALTER COLUMN code TYPE text;

UPDATE ir_model_data AS imd
   SET noupdate = TRUE
  FROM ir_ui_menu AS menu
 WHERE imd.model = 'ir.ui.menu' AND imd.res_id = menu.id AND menu.active IS FALSE;

COMMENT ON COLUMN res_partner.openupgrade_legacy_18_0_date IS 'date of Odoo 17; not used any more';
