-- What a store on PostgreSQL consists of. Every statement may be run again: tables are made where they are missing,
-- functions are replaced. "oncelog" stands for the schema's name, which is the store's.
--
-- Entries lie in slices, which are partitions: one after the other is the current one, in which ids are accepted, and
-- comes round again when all in it is past the retention. Then it is truncated: no row is ever deleted because of its
-- age, and nothing is left for vacuum. A slice is a quarter of the retention, and there are six: four within the
-- retention, the current one, and one that is past it.
--
-- An id is accepted by its row in the current slice: the primary key is what decides between transactions. While the
-- slices turn, from k to k+1, an id is accepted by two rows, one in k and one in k+1, until every transaction that knew
-- of k alone has ended. So any two transactions at a time have a slice in common that decides between them. (The
-- intermediate states of F1's schema changes, Rae et al. 2013, are the same idea.)

create schema if not exists oncelog;

create table if not exists oncelog.settings (
  one         boolean primary key default true check (one),
  version     integer not null,
  retention   interval not null,
  slice       smallint not null default 0,   -- The current one.
  next        smallint,                      -- While they turn: the one that is going to be.
  turns       bigint not null default 0,     -- How often one of the two above has changed.
  turned_by   xid8,                          -- Transactions from here on know of next.
  slice_end   timestamptz not null           -- When the next turn is due.
);

create table if not exists oncelog.scopes (
  number     integer generated always as identity primary key,
  name       text collate "C" not null unique,
  generation bigint not null default 0   -- Another one whenever an id is forgotten: what clients remember may be wrong.
);

-- Where a function sets what the planner may use: a plan that was made when a table was empty is kept by a connection,
-- and must be right when it is not. What it believes of such a table is no reason to compile anything either.

create sequence if not exists oncelog.lsns;
create sequence if not exists oncelog.tokens;

-- A processed id, or one that is claimed: then it has a token. An expired claim, and what is past its retention, may be
-- taken over in place.
create table if not exists oncelog.entries (
  slice            smallint not null,
  orphans          smallint,               -- Of a claim: 0 its deadline frees it, 1 as well, 2 nothing does.
  scope            integer not null,       -- 0: a lock.
  owner            integer,                -- Of a claim: its process.
  lsn              bigint not null,        -- 0 of a claim.
  at               timestamptz not null,
  token            bigint,
  deadline         timestamptz,
  fingerprint      bigint,
  source_partition bigint,
  source_offset    bigint,
  attempt          uuid,                   -- Of the call that has made it.
  id               bytea not null,
  correlation      bytea,
  source           bytea,
  result           bytea,
  primary key (scope, id, slice)           -- In this order: an id is looked for in all slices.
) partition by list (slice);

do $do$
begin
  for i in 0 .. 5 loop
    execute format('create table if not exists oncelog.entries_%s partition of oncelog.entries for values in (%s)', i, i);
  end loop;
end $do$;

create index if not exists entries_correlation on oncelog.entries (correlation) where correlation is not null;
create index if not exists entries_token on oncelog.entries (token) where token is not null;

create table if not exists oncelog.tables (
  name  bytea not null,
  key   bytea not null,
  value bytea not null,
  primary key (name, key)
);

-- Answers of calls that leave nothing behind by which they would be known again, for as long as any caller may send them
-- again: a timeout is an hour at most.
create table if not exists oncelog.attempts (
  attempt uuid primary key,
  at      timestamptz not null,
  answer  boolean not null default false
);

create index if not exists attempts_at on oncelog.attempts (at);

-- The one clock of the store. Tests have another.
create or replace function oncelog.clock() returns timestamptz language sql as $$ select clock_timestamp() $$;

do $do$
begin
  if to_regtype('oncelog.answer') is null then
    create type oncelog.answer as (
      ord              integer,   -- From 1.
      verdict          smallint,  -- 0 fresh, 1 duplicate, 2 in progress, 3 conflict, 4 too old.
      lsn              bigint,    -- Of the record that stands for the id; 0 where there is none.
      token            bigint,    -- Of the claim that was taken.
      redelivered      boolean,
      at               timestamptz,
      deadline         timestamptz,
      owner            integer,
      fingerprint      bigint,
      source_partition bigint,
      source_offset    bigint,
      correlation      bytea,
      source           bytea,
      result           bytea
    );
  end if;
end $do$;

do $do$
begin
  if to_regtype('oncelog.asked') is null then
    create type oncelog.asked as (
      ord              integer,  -- From 1.
      id               bytea,
      fingerprint      bigint,
      source_partition bigint,
      source_offset    bigint,
      sent_at          timestamptz,
      attempt          uuid,
      correlation      bytea,
      source           bytea,
      result           bytea
    );
  end if;
end $do$;

-- The scope's number; made on first use.
create or replace function oncelog.scope(p_name text) returns integer language plpgsql as $$
declare
  v_number integer;
begin
  if p_name = '' then return 0; end if;
  loop
    select number into v_number from oncelog.scopes where name = p_name;
    if found then return v_number; end if;
    insert into oncelog.scopes (name) values (p_name) on conflict do nothing;
  end loop;
end $$;

-- Decides on ids, and accepts those that are fresh: marks them, or claims them when p_lease is given. Each id gets one
-- answer. Within a transaction of the caller's it is part of that; others who ask for the same ids wait for its end.
-- `p_attempts`: an id that is sent again with the same is fresh again, by its own entry.
create or replace function oncelog.decide(
  p_scope text, p_ids bytea[], p_fingerprints bigint[] default null, p_correlations bytea[] default null,
  p_results bytea[] default null, p_sources bytea[] default null, p_partitions bigint[] default null,
  p_offsets bigint[] default null, p_sent_at timestamptz[] default null, p_lease interval default null,
  p_orphans smallint default 0, p_owner integer default 0, p_attempts uuid[] default null, p_whole boolean default true
) returns setof oncelog.answer language plpgsql as $$
declare
  v_asked oncelog.asked[];
  v_first oncelog.asked[];
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'oncelog decides at isolation level READ COMMITTED alone'
      using hint = 'At the others a transaction does not see what was accepted since it began.';
  end if;
  v_asked := array(select (t.ord, t.id, t.fp, t.partition, t.offset_, t.sent_at, t.attempt, t.correlation,
        t.source, t.result)::oncelog.asked
    from unnest(p_ids, p_fingerprints, p_partitions, p_offsets, p_sent_at, p_attempts, p_correlations, p_sources, p_results)
      with ordinality as t(id, fp, partition, offset_, sent_at, attempt, correlation, source, result, ord)
    where t.id is not null);
  loop
    -- An id that comes again is decided after the others, as if it came alone. In the order of ids, or two batches
    -- would wait for each other.
    v_first := array(select f from (select distinct on (a.id) a from unnest(v_asked) as a order by a.id, a.ord) as t(f));
    exit when v_first = '{}';
    return query select * from oncelog._decide(oncelog.scope(p_scope), v_first, p_lease, p_orphans, p_owner, p_whole);
    exit when cardinality(v_first) = cardinality(v_asked);
    v_asked := array(select (a.ord, a.id, a.fingerprint, a.source_partition, a.source_offset, a.sent_at,
        case when a.attempt is distinct from f.attempt then a.attempt end, a.correlation, a.source, a.result)::oncelog.asked
      from unnest(v_asked) as a join unnest(v_first) as f using (id) where f.ord <> a.ord);
  end loop;
end $$;

-- The same for ids of which each is there once, in their order.
create or replace function oncelog._decide(p_scope integer, p_open oncelog.asked[], p_lease interval, p_orphans smallint,
    p_owner integer, p_whole boolean) returns setof oncelog.answer language plpgsql
set jit = off set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  v_now   timestamptz := oncelog.clock();
  v_since timestamptz;
  v_turns bigint;
  v       oncelog.settings;
  v_done  oncelog.answer[];
begin
  select * into strict v from oncelog.settings where one;
  v_since := v_now - v.retention;
  loop
    v_turns := v.turns;
    -- What is known. The settings were read before, so that what was accepted in a slice that is not current any more
    -- is seen here.
    v_done := array(
      select (a.ord,
          case when e.token is not null then case when e.attempt = a.attempt and p_lease is not null then 0
                 when e.fingerprint <> a.fingerprint and a.fingerprint <> 0 and e.fingerprint <> 0 then 3 else 2 end
               when e.attempt = a.attempt and p_lease is null then 0
               when e.fingerprint <> a.fingerprint and a.fingerprint <> 0 and e.fingerprint <> 0 then 3
               else 1 end,
          e.lsn, case when e.attempt = a.attempt and p_lease is not null then e.token end,
          coalesce(e.token is null and e.source = a.source and e.source_partition = a.source_partition
            and e.source_offset = a.source_offset, false),
          e.at, e.deadline, e.owner, e.fingerprint, e.source_partition, e.source_offset,
          case when p_whole then e.correlation end, case when p_whole then e.source end,
          case when p_whole then e.result end)::oncelog.answer
        from unnest(p_open) as a
        cross join lateral (
          select * from oncelog.entries as e
            where e.scope = p_scope and e.id = a.id
              and case when e.token is null then e.at > v_since else e.orphans = 2 or e.deadline > v_now end
            order by e.token is null desc, e.lsn desc limit 1) as e);
    if v_done <> '{}' then
      return query select * from unnest(v_done);
      p_open := array(select a from unnest(p_open) as a where not exists (select from unnest(v_done) as d where d.ord = a.ord));
    end if;
    v_done := array(select (a.ord, 4, 0, null, false, null, null, null, null, null, null, null, null, null)::oncelog.answer
      from unnest(p_open) as a where a.sent_at <= v_since);
    if v_done <> '{}' then
      return query select * from unnest(v_done);
      p_open := array(select a from unnest(p_open) as a where a.sent_at is null or a.sent_at > v_since);
    end if;
    exit when p_open = '{}';

    -- With a transaction id the slices cannot turn wholly before this transaction has ended. If they have turned since
    -- they were read, what is known must be read again.
    perform pg_current_xact_id();
    select * into strict v from oncelog.settings where one;
    continue when v.turns <> v_turns;

    with put as (
      insert into oncelog.entries as e (slice, orphans, scope, owner, lsn, at, token, deadline, fingerprint,
          source_partition, source_offset, attempt, id, correlation, source, result)
        select v.slice, case when p_lease is not null then p_orphans end, p_scope,
            case when p_lease is not null then p_owner end,
            case when p_lease is null then nextval('oncelog.lsns') * 8 else 0 end, v_now,
            case when p_lease is not null then nextval('oncelog.tokens') end, v_now + p_lease,
            a.fingerprint, a.source_partition, a.source_offset, a.attempt, a.id, a.correlation, a.source, a.result
          from unnest(p_open) as a
        on conflict (scope, id, slice) do update set orphans = excluded.orphans, owner = excluded.owner,
            lsn = excluded.lsn, at = excluded.at, token = excluded.token, deadline = excluded.deadline,
            fingerprint = excluded.fingerprint, source_partition = excluded.source_partition,
            source_offset = excluded.source_offset, attempt = excluded.attempt, correlation = excluded.correlation,
            source = excluded.source, result = excluded.result
          where case when e.token is null then e.at <= v_since else e.orphans <> 2 and e.deadline <= v_now end
        returning e.id, e.lsn, e.token, e.at, e.deadline)
      select array_agg((a.ord, 0, put.lsn, put.token, false, put.at, put.deadline, null, null, null, null, null, null,
          null)::oncelog.answer)
        into v_done from put join unnest(p_open) as a on put.id = a.id;
    if v_done is not null and v.next is not null then
      v_done := oncelog._accept_next(v, p_scope, v_now, p_open, v_done);
    end if;
    if v_done <> '{}' then
      return query select * from unnest(v_done);
      p_open := array(select a from unnest(p_open) as a where not exists (select from unnest(v_done) as d where d.ord = a.ord));
    end if;
    exit when p_open = '{}';
    -- Another transaction has accepted these meanwhile, or freed them: the look's view of the table was older.
  end loop;
end $$;

-- While the slices turn: accepts in the next slice what was accepted in the current one. Returns those of which it was
-- possible; another transaction, which knows of the next slice alone, was first with the others.
create or replace function oncelog._accept_next(v oncelog.settings, p_scope integer, p_now timestamptz,
    p_open oncelog.asked[], p_done oncelog.answer[]) returns oncelog.answer[] language plpgsql
set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_material = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
  v_kept bytea[];
  v_id   bytea;
begin
  with own as (
    select e.* from unnest(p_open) as a cross join lateral (select * from oncelog.entries as e
      where e.scope = p_scope and e.id = a.id and e.slice = v.slice and e.at = p_now limit 1) as e
      where a.ord = any(array(select d.ord from unnest(p_done) as d))),
  put as (
    insert into oncelog.entries as e (slice, orphans, scope, owner, lsn, at, token, deadline, fingerprint,
        source_partition, source_offset, attempt, id, correlation, source, result)
      select v.next, orphans, scope, owner, lsn, at, token, deadline, fingerprint, source_partition, source_offset,
          attempt, id, correlation, source, result from own order by id
      on conflict (scope, id, slice) do update set orphans = excluded.orphans, owner = excluded.owner,
          lsn = excluded.lsn, at = excluded.at, token = excluded.token, deadline = excluded.deadline,
          fingerprint = excluded.fingerprint, source_partition = excluded.source_partition,
          source_offset = excluded.source_offset, attempt = excluded.attempt, correlation = excluded.correlation,
          source = excluded.source, result = excluded.result
        where case when e.token is null then e.at <= p_now - v.retention else e.orphans <> 2 and e.deadline <= p_now end
      returning e.id)
    select coalesce(array_agg(id), '{}') into v_kept from put;
  if cardinality(v_kept) = cardinality(p_done) then return p_done; end if;
  for v_id in select a.id from unnest(p_done) as d join unnest(p_open) as a using (ord) where a.id <> all(v_kept) loop
    delete from oncelog.entries as e where e.scope = p_scope and e.id = v_id and e.slice = v.slice;
  end loop;
  return array(select d from unnest(p_done) as d join unnest(p_open) as a using (ord) where a.id = any(v_kept));
end $$;

-- Has a claim's row lie in that slice, so that whoever takes it over meets it there. Returns whether it is still the
-- holder's. The row is locked until the transaction ends.
create or replace function oncelog._bring(p_slice smallint, p_scope integer, p_id bytea, p_token bigint)
returns boolean language plpgsql
set jit = off set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  v_row oncelog.entries;
  v_in  smallint;
begin
  perform 1 from oncelog.entries as e
    where e.slice = p_slice and e.scope = p_scope and e.id = p_id and e.token = p_token for update;
  if found then return true; end if;
  select * into v_row from oncelog.entries as e
    where e.scope = p_scope and e.id = p_id and e.token = p_token limit 1 for update;
  if not found then return false; end if;
  v_row.slice := p_slice;
  insert into oncelog.entries select v_row.* on conflict (scope, id, slice) do nothing returning slice into v_in;
  return v_in is not null;  -- Otherwise another has taken it.
end $$;

-- The same in each slice that decides; and it lies in no other.
create or replace function oncelog._hold(v oncelog.settings, p_scope integer, p_id bytea, p_token bigint)
returns boolean language plpgsql as $$
begin
  if not oncelog._bring(v.slice, p_scope, p_id, p_token) then return false; end if;
  if v.next is not null and not oncelog._bring(v.next, p_scope, p_id, p_token) then return false; end if;
  delete from oncelog.entries as e where e.scope = p_scope and e.id = p_id and e.token = p_token
    and e.slice <> v.slice and e.slice is distinct from v.next;
  return true;
end $$;

-- Takes over ids that were processed elsewhere, each with the time of that. An id that is known or claimed stays as it is.
-- The time of one of the future is the present. Returns for each: 0 imported, 1 the same with the present, 2 known,
-- 3 claimed, 4 past the retention.
create or replace function oncelog.import(
  p_scope text, p_ids bytea[], p_at timestamptz[], p_fingerprints bigint[] default null,
  p_correlations bytea[] default null, p_results bytea[] default null, p_sources bytea[] default null,
  p_partitions bigint[] default null, p_offsets bigint[] default null
) returns table (ord integer, outcome smallint) language plpgsql
set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_material = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
  v_scope integer := oncelog.scope(p_scope);
  v_now   timestamptz := oncelog.clock();
  v_done  oncelog.answer[];
begin
  v_done := array(select (d.ord, d.verdict, d.lsn, null, false, null, null, null, null, null, null, null, null, null)::oncelog.answer
    from oncelog.decide(p_scope, p_ids, p_fingerprints, p_correlations, p_results, p_sources, p_partitions, p_offsets,
      p_sent_at => p_at, p_whole => false) as d);
  -- Nobody has seen the rows yet. There are two of an id while the slices turn.
  update oncelog.entries as e set at = least(t.at, v_now)
    from unnest(v_done) as d join unnest(p_ids, p_at) with ordinality as t(id, at, ord) on t.ord = d.ord
    where d.verdict = 0 and e.scope = v_scope and e.id = t.id and e.lsn = d.lsn and e.token is null;
  return query select d.ord, (case d.verdict when 0 then case when p_at[d.ord] > v_now then 1 else 0 end
      when 2 then 3 when 4 then 4 else 2 end)::smallint from unnest(v_done) as d;
end $$;

-- Marks claimed ids, each by its claim's token, and ends the claims. Returns for each in order its record's LSN and time;
-- LSN 0 when the claim is not the holder's any more. An attribute that is null stays as it was when the id was claimed.
create or replace function oncelog.complete(
  p_scope text, p_ids bytea[], p_tokens bigint[], p_fingerprints bigint[] default null,
  p_correlations bytea[] default null, p_results bytea[] default null, p_sources bytea[] default null,
  p_partitions bigint[] default null, p_offsets bigint[] default null, p_attempt uuid default null
) returns table (lsn bigint, at timestamptz) language plpgsql
set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_material = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
  v_scope integer := oncelog.scope(p_scope);
  v       oncelog.settings;
  v_now   timestamptz := oncelog.clock();
  v_held  boolean[];
  v_lsns  bigint[];
  v_ord   integer;
begin
  perform pg_current_xact_id();
  select * into strict v from oncelog.settings where one;
  -- Most lie in the current slice. In the order of ids, or two batches would wait for each other.
  v_held := array(select held from (
    select t.ord, e.token is not null as held
      from (select * from unnest(p_ids, p_tokens) with ordinality as t(id, token, ord) order by id) as t
      left join lateral (select e.token from oncelog.entries as e where v.next is null and e.scope = v_scope
        and e.id = t.id and e.slice = v.slice and e.token = t.token for update) as e on true) as h order by ord);
  for v_ord in select t.ord from unnest(p_ids, v_held) with ordinality as t(id, held, ord) where not t.held order by t.id loop
    v_held[v_ord] := oncelog._hold(v, v_scope, p_ids[v_ord], p_tokens[v_ord]);
  end loop;
  v_lsns := array(select case when t.held then nextval('oncelog.lsns') * 8 else 0 end
    from unnest(v_held) with ordinality as t(held, ord) order by t.ord);
  -- Each is there; an insertion that meets it finds it by the index, whatever the planner believes.
  insert into oncelog.entries as e (slice, scope, lsn, at, token, fingerprint, source_partition, source_offset, attempt,
      id, correlation, source, result)
    select s.slice, v_scope, t.lsn, v_now, t.token, t.fingerprint, t.partition, t.offset_, p_attempt, t.id,
        t.correlation, t.source, t.result
      from unnest(p_ids, p_tokens, v_held, v_lsns, p_fingerprints, p_correlations, p_results, p_sources, p_partitions,
          p_offsets) as t(id, token, held, lsn, fingerprint, correlation, result, source, partition, offset_)
      cross join unnest(array_remove(array[v.slice, v.next], null)) as s(slice)
      where t.held order by s.slice = v.slice desc, t.id
    on conflict (scope, id, slice) do update set token = null, deadline = null, orphans = null, owner = null,
        lsn = excluded.lsn, at = excluded.at, attempt = excluded.attempt, result = excluded.result,
        fingerprint = coalesce(excluded.fingerprint, e.fingerprint),
        correlation = coalesce(excluded.correlation, e.correlation), source = coalesce(excluded.source, e.source),
        source_partition = coalesce(excluded.source_partition, e.source_partition),
        source_offset = coalesce(excluded.source_offset, e.source_offset)
      where e.token = excluded.token;
  -- What an earlier sending of this call has marked is its own.
  return query select coalesce(before.lsn, t.lsn), coalesce(before.at, v_now)
    from unnest(p_ids, v_held, v_lsns) with ordinality as t(id, held, lsn, ord)
    left join lateral (select e.lsn, e.at from oncelog.entries as e
      where not t.held and e.scope = v_scope and e.id = t.id and e.token is null and e.attempt = p_attempt
      order by e.lsn desc limit 1) as before on true
    order by t.ord;
end $$;

-- Has a claim's lease end so long from now. Returns false when it is not the holder's any more.
create or replace function oncelog.renew(p_scope text, p_id bytea, p_token bigint, p_lease interval)
returns boolean language plpgsql as $$
#variable_conflict use_column
declare
  v_scope    integer := oncelog.scope(p_scope);
  v_deadline timestamptz := oncelog.clock() + p_lease;
  v          oncelog.settings;
begin
  perform pg_current_xact_id();
  select * into strict v from oncelog.settings where one;
  if not oncelog._hold(v, v_scope, p_id, p_token) then return false; end if;
  update oncelog.entries as e set deadline = v_deadline
    where e.scope = v_scope and e.id = p_id and e.token = p_token;
  return true;
end $$;

-- Frees claims by their tokens. Returns how many were still held: not by whom another has followed in a later slice.
create or replace function oncelog.abandon(p_scope text, p_ids bytea[], p_tokens bigint[]) returns integer
language plpgsql
set jit = off set enable_seqscan = off set enable_bitmapscan = off as $$
declare
  v_scope integer := oncelog.scope(p_scope);
  v_freed integer := 0;
begin
  for i in 1 .. cardinality(p_ids) loop
    delete from oncelog.entries as e where e.scope = v_scope and e.id = p_ids[i] and e.token = p_tokens[i];
    continue when not found;
    perform 1 from oncelog.entries as e
      where e.scope = v_scope and e.id = p_ids[i] and (e.token is null or e.token > p_tokens[i]);
    if not found then v_freed := v_freed + 1; end if;
  end loop;
  return v_freed;
end $$;

-- What a call of that attempt has answered before; null when it is the first. One that is under way is waited for.
create or replace function oncelog._answered(p_attempt uuid) returns boolean language plpgsql as $$
declare
  v_answer boolean;
begin
  if p_attempt is null then return null; end if;
  insert into oncelog.attempts (attempt, at) values (p_attempt, oncelog.clock()) on conflict do nothing;
  if found then return null; end if;
  select answer into strict v_answer from oncelog.attempts where attempt = p_attempt;
  return v_answer;
end $$;

-- Makes a processed id fresh again. Returns whether it was processed.
create or replace function oncelog.forget(p_scope text, p_id bytea, p_attempt uuid default null) returns boolean
language plpgsql
set jit = off set enable_seqscan = off set enable_bitmapscan = off as $$
declare
  v_scope  integer := oncelog.scope(p_scope);
  v_before boolean := oncelog._answered(p_attempt);
  v_at     timestamptz;
begin
  if v_before is not null then return v_before; end if;
  with gone as (delete from oncelog.entries as e where e.scope = v_scope and e.id = p_id and e.token is null returning e.at)
    select max(at) into v_at from gone;
  if v_at is null then return false; end if;
  -- A random one: a number that a crash has taken back must not come again.
  update oncelog.scopes set generation = (random() * 9e18)::bigint where number = v_scope;
  if v_at <= oncelog.clock() - (select retention from oncelog.settings where one) then return false; end if;
  update oncelog.attempts set answer = true where attempt = p_attempt;
  return true;
end $$;

-- The store's time, and the scope's generation.
create or replace function oncelog.pulse(p_scope text) returns table (now timestamptz, generation bigint) language sql as $$
  select oncelog.clock(), coalesce((select s.generation from oncelog.scopes as s where s.name = p_scope), 0)
$$;

-- Frees a claimed id, or a lock (of scope ''), whoever holds it. Returns whether there was a claim.
create or replace function oncelog.release(p_scope text, p_id bytea, p_attempt uuid default null) returns boolean
language plpgsql
set jit = off set enable_seqscan = off set enable_bitmapscan = off as $$
declare
  v_scope  integer := oncelog.scope(p_scope);
  v_before boolean := oncelog._answered(p_attempt);
begin
  if v_before is not null then return v_before; end if;
  delete from oncelog.entries as e where e.scope = v_scope and e.id = p_id and e.token is not null;
  if not found then return false; end if;
  update oncelog.attempts set answer = true where attempt = p_attempt;
  return true;
end $$;

-- The records of these ids, of those that are processed.
create or replace function oncelog.find(p_scope text, p_ids bytea[], p_whole boolean default true)
returns table (ord integer, at timestamptz, lsn bigint, fingerprint bigint, source_partition bigint,
    source_offset bigint, correlation bytea, source bytea, result bytea) language sql stable
set jit = off set enable_seqscan = off set enable_bitmapscan = off as $$
  select t.ord::integer, e.at, e.lsn, e.fingerprint, e.source_partition, e.source_offset,
      case when p_whole then e.correlation end, case when p_whole then e.source end, case when p_whole then e.result end
    from unnest(p_ids) with ordinality as t(id, ord)
    cross join lateral (
      select * from oncelog.entries as e
        where e.scope = (select number from oncelog.scopes where name = p_scope)
          and e.id = t.id and e.token is null
          and e.at > (select oncelog.clock() - retention from oncelog.settings where one)
        order by e.lsn desc limit 1) as e
$$;

-- Who holds an id, or a lock (of scope '').
create or replace function oncelog.holder(p_scope text, p_id bytea)
returns table (owner integer, deadline timestamptz, token bigint) language sql stable
set jit = off set enable_seqscan = off set enable_bitmapscan = off as $$
  select e.owner, e.deadline, e.token from oncelog.entries as e
    where e.id = p_id and e.token is not null
      and e.scope = case when p_scope = '' then 0 else (select number from oncelog.scopes where name = p_scope) end
      and (e.orphans = 2 or e.deadline > oncelog.clock())
    order by e.token desc limit 1
$$;

-- Truncates the slice that comes after the current one. All in it is past the retention, but claims that are still held,
-- which stay, and what a clock that was set back has brought back. Returns false when that is for later: others are
-- reading in it, and are waited for 50 ms at most, in which those who come later wait as well.
create or replace function oncelog._empty(v oncelog.settings, p_slice integer) returns boolean language plpgsql as $$
#variable_conflict use_column
declare
  v_now timestamptz := oncelog.clock();
begin
  perform set_config('lock_timeout', '50ms', true);
  begin
    execute format('lock table oncelog.entries_%s in access exclusive mode', p_slice);
  exception when lock_not_available then
    return false;
  end;
  insert into oncelog.entries
    select v.slice, orphans, scope, owner, lsn, at, token, deadline, fingerprint, source_partition, source_offset, attempt,
        id, correlation, source, result
      from oncelog.entries as e
      where e.slice = p_slice and case when e.token is null then e.at > v_now - v.retention
                                       else e.orphans = 2 or e.deadline > v_now end
    on conflict (scope, id, slice) do nothing;
  execute format('truncate oncelog.entries_%s', p_slice);
  return true;
end $$;

-- What is due so that space comes back; to be called now and then, by anyone, in a transaction of its own. Returns
-- whether something has changed; then there may be more to do.
create or replace function oncelog.upkeep() returns boolean language plpgsql as $$
declare
  v      oncelog.settings;
  v_now  timestamptz := oncelog.clock();
  v_next integer;
  v_full boolean;
begin
  select * into v from oncelog.settings for update skip locked;
  if not found then return false; end if;  -- Another is at it.
  delete from oncelog.attempts where at < v_now - interval '2 hours';
  if v.next is not null then
    -- Whoever read the settings before the turn was committed had a transaction id by then, which is below what is noted
    -- here, after the commit.
    if v.turned_by is null then
      update oncelog.settings set turned_by = pg_snapshot_xmax(pg_current_snapshot());
      return true;
    end if;
    if pg_snapshot_xmin(pg_current_snapshot()) < v.turned_by then return false; end if;
    update oncelog.settings set slice = v.next, next = null, turned_by = null, turns = turns + 1;
    return true;
  end if;
  v_next := (v.slice + 1) % 6;
  execute format('select exists (select from oncelog.entries_%s)', v_next) into v_full;
  if v_full then return oncelog._empty(v, v_next); end if;
  if v_now < v.slice_end then return false; end if;
  -- A claim that was taken while the slices turned last time is in two of them; one that was followed by another, too.
  delete from oncelog.entries as e where e.token is not null and e.slice <> v.slice and exists (
    select from oncelog.entries as n where n.scope = e.scope and n.id = e.id and n.slice <> e.slice
      and (n.token is null and n.at > v_now - v.retention or n.token > e.token or n.token = e.token and n.slice = v.slice));
  update oncelog.settings set next = v_next, turns = turns + 1, slice_end = v_now + v.retention / 4;
  return true;
end $$;

-- Returns when all that was committed before is on disk, also what did not wait for it.
create or replace function oncelog.flush() returns void language plpgsql as $$
begin
  perform set_config('synchronous_commit', 'on', true);
  perform pg_logical_emit_message(true, 'oncelog', '');
end $$;

-- For marks of text ids from SQL: whether the id is fresh. In the caller's transaction, so that its effects and the mark
-- are committed together.
create or replace function oncelog.mark(p_scope text, p_id text) returns boolean language sql as $$
  select verdict = 0 from oncelog.decide(p_scope, array[convert_to(p_id, 'UTF8')])
$$;

-- Roles: the one may use the store, the other may look at it.
do $do$
declare
  v_user   text := 'oncelog_user';
  v_reader text := 'oncelog_reader';
begin
  if not exists (select from pg_roles where rolname = v_user) then execute format('create role %I', v_user); end if;
  if not exists (select from pg_roles where rolname = v_reader) then execute format('create role %I', v_reader); end if;
  execute format('grant usage on schema oncelog to %I, %I', v_user, v_reader);
  execute format('grant select on all tables in schema oncelog to %I, %I', v_user, v_reader);
  execute format('grant insert, update, delete, truncate on all tables in schema oncelog to %I', v_user);
  execute format('grant usage on all sequences in schema oncelog to %I', v_user);
  execute format('grant execute on all functions in schema oncelog to %I', v_user);
  execute format('grant execute on function oncelog.find(text, bytea[], boolean), oncelog.holder(text, bytea), oncelog.clock() to %I', v_reader);
exception when insufficient_privilege then
  raise notice 'oncelog: the roles % and % are not made: this takes a role that may create them', v_user, v_reader;
end $do$;
