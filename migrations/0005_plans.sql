-- The functions look up single rows by key. With parameters known only at run time Postgres would plan each of their statements anew at every call, because a
-- plan for one partition always looks cheaper than one for all of them; the partitions are pruned at run time all the same. Planning was most of their time.
DO $$
DECLARE
  v_function regprocedure;
BEGIN
  FOR v_function IN
    SELECT p.oid::regprocedure FROM pg_proc p
     WHERE p.pronamespace = current_schema()::regnamespace AND p.prolang = (SELECT l.oid FROM pg_language l WHERE l.lanname = 'plpgsql')
       AND p.proname IN ('admit_slot', 'admit_trigger', 'admit_queued', 'claim_execution', 'record_outcomes', 'cancel_execution', 'close_execution')
  LOOP
    EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan', v_function);
  END LOOP;
END $$;
