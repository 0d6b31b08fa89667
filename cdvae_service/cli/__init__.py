"""The console command `cdvae`."""
