-- key = "id"
-- description = "invoices of the first week of November were taxed with 16 % instead of 19 %"
-- approval = "one"
UPDATE invoices
SET tax = (net * 19 + 50) / 100,
    total = net + (net * 19 + 50) / 100
WHERE country = 'DE' AND issued BETWEEN '2024-11-04' AND '2024-11-10'
