"""The results of sweeps: tables, plots and paired differences."""
