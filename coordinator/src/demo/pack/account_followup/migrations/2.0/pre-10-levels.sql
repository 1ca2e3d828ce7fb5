ALTER TABLE res_partner ADD COLUMN followup_level integer;
-- upshift: label = "follow-up level by overdue invoices"
UPDATE res_partner AS p
   SET followup_level = o.level
  FROM (SELECT partner_id, least(3, count(*))::integer AS level
          FROM account_move
         WHERE move_type = 'out_invoice' AND payment_state = 'not_paid' AND invoice_date_due < date '2020-01-01'
         GROUP BY partner_id) AS o
 WHERE o.partner_id = p.id;
