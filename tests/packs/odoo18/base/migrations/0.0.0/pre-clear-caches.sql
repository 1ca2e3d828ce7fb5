-- Runs on every upgrade: what a running server keeps in the database for its own sake.
DELETE FROM bus_bus;

-- upshift: when = column_exists(ir_attachment.url)
DELETE FROM ir_attachment
 WHERE res_model = 'ir.ui.menu' AND name = 'web_icon_data';
