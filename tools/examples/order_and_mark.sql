-- An order and its mark in one commit, in plain SQL: any driver of any language can do the same. `oncelog remote init`
-- has made the schema. Run it with psql, twice if you like:
--
--   psql -d DATABASE -f order_and_mark.sql

create table if not exists orders (id text primary key, books integer check (books > 0));

-- mark() says whether the id is fresh. Whoever asks for the same id meanwhile waits for this transaction's end, and then
-- gets false; after a rollback, true.
begin;
insert into orders select 'order-7', 2 where oncelog.mark('order-service', 'order-7');
commit;

-- The same message again. Nothing is inserted.
begin;
insert into orders select 'order-7', 2 where oncelog.mark('order-service', 'order-7');
commit;

-- A batch is one call: decide() answers for each id of an array, 0 for those that are fresh.
begin;
insert into orders
  select convert_from(ids.id, 'UTF8'), 1
    from unnest(array['order-8', 'order-7', 'order-9']::bytea[]) with ordinality as ids(id, ord)
    join oncelog.decide('order-service', array['order-8', 'order-7', 'order-9']::bytea[]) as answers using (ord)
    where answers.verdict = 0;
commit;

select id, books from orders order by id;
