"""What is computed: specs, parameters, schedules, random bits, the seam to the engines. No array library."""
